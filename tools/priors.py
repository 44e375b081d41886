"""Score guesses that ignore the image: ``python tools/priors.py configs/CONFIG.py``."""

from __future__ import annotations

import argparse

from command_line import Parser, main, positive, read_config


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config(help='segmentation or classification config')
    parser.add_argument(
        '--grid',
        type=positive,
        nargs=2,
        default=(32, 32),
        metavar=('ROWS', 'COLUMNS'),
        help='grid of the position prior; use the image size to count every pixel',
    )
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.measure.linear import linear_scores
    from vil_mm.measure.priors import prior_scores
    from vil_mm.runs.checks import check_data
    from vil_mm.runs.data import check_samples
    from vil_mm.runs.tasks import classification, find_task

    cfg = read_config(args)
    check_data(cfg, 'train', 'val')
    check_samples(cfg, 'train', 'val')
    if find_task(cfg) is classification:
        print(f'{"guess":<22}{"top-1":>8}')
        for name, top1 in linear_scores(cfg).items():
            print(f'{name:<22}{top1:>8.2f}')
        return
    print(f'{"guess":<22}{"mIoU":>8}{"aAcc":>8}')
    for name, score in prior_scores(cfg, tuple(args.grid)).items():
        print(f'{name:<22}{score.mIoU:>8.2f}{score.aAcc:>8.2f}')


if __name__ == '__main__':
    main(make_parser(), run)
