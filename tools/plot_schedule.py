"""Plot a config's learning rate and its formula: ``python tools/plot_schedule.py CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path

from command_line import Parser, main, read_config


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config(help='config file for training')
    parser.add_argument('--out', type=Path, help='PNG to write; default: CONFIG_schedule.png')
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.pictures.schedule import plot_schedule

    out = args.out or Path(f'{Path(args.config).stem}_schedule.png')
    difference = plot_schedule(read_config(args), out)
    print(f'{out}: largest relative difference from the formula {difference:.2g}')


if __name__ == '__main__':
    main(make_parser(), run)
