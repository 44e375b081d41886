"""Print a config with its bases and overrides merged: ``python tools/print_config.py CONFIG``."""

from __future__ import annotations

import argparse

from command_line import Parser, main, read_config


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config()
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    print(read_config(args).pretty_text)


if __name__ == '__main__':
    main(make_parser(), run)
