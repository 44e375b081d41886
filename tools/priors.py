"""Score guesses that need no model: ``python tools/priors.py configs/CONFIG.py``."""

from __future__ import annotations

import argparse

from mmengine.config import Config, DictAction

import vil_mm  # noqa: F401  registers data sets and transforms
from vil_mm.analysis.linear import linear_scores
from vil_mm.analysis.priors import prior_scores
from vil_mm.engine.checks import check_data
from vil_mm.engine.launch import read_config


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config', help='segmentation or classification config whose data sets are measured'
    )
    parser.add_argument(
        '--grid',
        type=int,
        nargs=2,
        default=(32, 32),
        metavar=('ROWS', 'COLUMNS'),
        help='places at which the position prior counts; the image size means every pixel',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    try:
        print_scores(read_config(args.config, options=args.cfg_options), tuple(args.grid))
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')


def print_scores(cfg: Config, grid: tuple[int, int]) -> None:
    check_data(cfg, 'train', 'val')
    if cfg.get('default_scope') == 'mmpretrain':
        print(f'{"guess":<22}{"top-1":>8}')
        for name, top1 in linear_scores(cfg).items():
            print(f'{name:<22}{top1:>8.2f}')
        return
    print(f'{"guess":<22}{"mIoU":>8}{"aAcc":>8}')
    for name, score in prior_scores(cfg, grid).items():
        print(f'{name:<22}{score.mIoU:>8.2f}{score.aAcc:>8.2f}')


if __name__ == '__main__':
    main()
