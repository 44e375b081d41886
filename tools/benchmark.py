"""Time a config's model and take its peak memory: `python tools/benchmark.py CONFIG [CKPT]`."""

from __future__ import annotations

import argparse

import torch
from mmengine.utils import track_iter_progress

import vil_mm  # noqa: F401  registers models
from vil_mm.analysis.model_speed import describe, measure_model
from vil_mm.analysis.speed_cli import add_speed_options, read_setting
from vil_mm.analysis.whole_model import read_shape
from vil_mm.engine.launch import read_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='weights; random ones take as long')
    parser.add_argument(
        '--shape', type=int, nargs='+', default=[224, 224], metavar='PIXELS', help='height, width'
    )
    add_speed_options(parser)
    args = parser.parse_args()
    try:
        setting, shape = read_setting(args), read_shape(args.shape)
        cfg = read_config(args.config, options=args.cfg_options)
        row = measure_model(cfg, shape, setting, args.checkpoint, track_iter_progress)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    except torch.cuda.OutOfMemoryError as error:
        parser.exit(1, f'\n{parser.prog}: out of memory: {str(error).splitlines()[0]}\n')
    print(describe(row, setting))


if __name__ == '__main__':
    main()
