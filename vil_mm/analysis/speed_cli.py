"""Options that the tools that measure speed share."""

from __future__ import annotations

import argparse

import torch
from mmengine.config import DictAction

from vil_mm.analysis.model_speed import Setting


def add_speed_options(parser: argparse.ArgumentParser) -> None:
    """Those of a :class:`Setting`, and ``--cfg-options``."""
    default = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', choices=('cpu', 'cuda'), default=default)
    parser.add_argument('--batch-size', type=int, default=1, help='images a call')
    parser.add_argument('--repeat', type=int, default=20, help='calls that count')
    parser.add_argument(
        '--train-step', action='store_true', help='a step of training instead of a prediction'
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=('auto', 'float16', 'bfloat16'),
        help='autocast; without a value float16 on a GPU, bfloat16 on a CPU',
    )
    parser.add_argument('--compile', action='store_true', help='torch.compile of the backbone')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')


def read_setting(args: argparse.Namespace) -> Setting:
    """What the options ask for.

    Raises:
        ValueError: One is out of its range, or there is no such device.
    """
    amp = args.amp
    if amp == 'auto':
        amp = 'float16' if args.device == 'cuda' else 'bfloat16'
    setting = Setting(args.device, args.batch_size, args.repeat, args.train_step, amp, args.compile)
    setting.check()
    return setting
