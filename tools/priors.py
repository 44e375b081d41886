"""Score guesses that need no model: ``python tools/priors.py configs/CONFIG.py``."""

from __future__ import annotations

import argparse
import sys

from mmengine.config import Config, DictAction

import vil_mm  # noqa: F401  registers data sets and transforms
from vil_mm.analysis.linear import linear_scores
from vil_mm.analysis.priors import prior_scores
from vil_mm.engine.checks import check_data


def parse_args() -> argparse.Namespace:
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
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    try:
        check_data(cfg, 'train', 'val')
    except FileNotFoundError as error:
        sys.exit(f'priors.py: {error}')
    if cfg.get('default_scope') == 'mmpretrain':
        print(f'{"guess":<22}{"top-1":>8}')
        for name, top1 in linear_scores(cfg).items():
            print(f'{name:<22}{top1:>8.2f}')
        return
    print(f'{"guess":<22}{"mIoU":>8}{"aAcc":>8}')
    for name, score in prior_scores(cfg, tuple(args.grid)).items():
        print(f'{name:<22}{score.mIoU:>8.2f}{score.aAcc:>8.2f}')


if __name__ == '__main__':
    main()
