"""Draw loss and score of one or several runs: ``python tools/analyze_logs.py work_dirs/RUN``."""

from __future__ import annotations

import argparse
from pathlib import Path

from command_line import Parser, existing, main


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument(
        'json_logs',
        nargs='+',
        type=existing('run'),
        metavar='RUN',
        help='work dir of a training, or a scalars.json',
    )
    parser.add_argument(
        '--keys',
        nargs='+',
        metavar='KEY',
        help='scalars to draw, one panel each; default: loss and mIoU or accuracy/top1',
    )
    parser.add_argument('--legend', nargs='+', metavar='NAME', help='names of the runs')
    parser.add_argument('--title', help='title of the picture')
    parser.add_argument(
        '--out', type=Path, help='PNG to write; default: WORK_DIR/curves.png, or curves.png'
    )
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.pictures.curves import plot_runs

    alone = len(args.json_logs) == 1 and Path(args.json_logs[0]).is_dir()
    out = args.out or Path(args.json_logs[0] if alone else '.', 'curves.png')
    print(plot_runs(args.json_logs, out, args.keys, args.legend, args.title))


if __name__ == '__main__':
    main(make_parser(), run)
