"""Count what a config's model computes: `python tools/get_flops.py CONFIG --shape 512 512`."""

from __future__ import annotations

import argparse

import torch
from mmengine.config import DictAction

import vil_mm  # noqa: F401  registers models
from vil_mm.analysis.flops import FORMS, count_flops, describe
from vil_mm.analysis.whole_model import build_model, check_device, read_shape
from vil_mm.engine.launch import read_config


def parser_of() -> argparse.ArgumentParser:
    default = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape', type=int, nargs='+', default=[224, 224], metavar='PIXELS', help='height, width'
    )
    parser.add_argument('--device', choices=('cpu', 'cuda'), default=default)
    parser.add_argument(
        '--form',
        choices=FORMS,
        default='auto',
        help='of the mLSTM cell; auto: what runs on the device; fused: the CUDA kernels, also '
        'counted where there is no GPU',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')
    return parser


def main() -> None:
    parser = parser_of()
    args = parser.parse_args()
    try:
        check_device(args.device)
        shape = read_shape(args.shape)
        model = build_model(read_config(args.config, options=args.cfg_options), args.device)
        count = count_flops(model, shape, args.form)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    print(describe(count, shape, args.device))


if __name__ == '__main__':
    main()
