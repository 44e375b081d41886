"""Summarise a trained and tested run: ``python tools/report.py CONFIG WORK_DIR``."""

from __future__ import annotations

import argparse

from command_line import Parser, existing, main, read_config


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config(help='config of the run')
    parser.add_argument(
        'run_dir',
        type=existing('work dir'),
        metavar='WORK_DIR',
        help='folder of the training; its test is in WORK_DIR/test',
    )
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.measure.summary import summarize_run

    print(summarize_run(read_config(args), args.run_dir))


if __name__ == '__main__':
    main(make_parser(), run)
