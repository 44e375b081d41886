"""Draw the demo's small segmentation data set: ``python tools/draw_dataset.py data/drawn``."""

from __future__ import annotations

import argparse

from command_line import Parser, main, positive


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument('root', help='folder to create; the same data set is kept if it exists')
    parser.add_argument('--num-train', type=positive, default=240, help='training images')
    parser.add_argument('--num-val', type=positive, default=40, help='validation images')
    parser.add_argument('--seed', type=int, default=0)
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.datasets import draw_dataset

    draw_dataset(args.root, args.num_train, args.num_val, seed=args.seed)


if __name__ == '__main__':
    main(make_parser(), run)
