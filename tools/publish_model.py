"""Reduce a checkpoint to what users of the model need: ``tools/publish_model.py SRC DST``.

Keeps weights, class names and colours. Removes the optimizer's state, logs, and the config, which
contains paths of your machine. DST.pth becomes DST-1a2b3c4d.pth, with the first digits of its
SHA-256.
"""

from __future__ import annotations

import argparse

from command_line import Parser, existing, main, output


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=existing('checkpoint'), help='training checkpoint')
    parser.add_argument('dst', type=output('.pth'), help='file to write, *.pth')
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.checkpoints.publishing import publish

    path = publish(args.src, args.dst)
    print(f'written: {path}, {path.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main(make_parser(), run)
