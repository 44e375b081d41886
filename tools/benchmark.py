"""Measure a model's speed and peak memory: `python tools/benchmark.py CONFIG [CKPT]`."""

from __future__ import annotations

import argparse

from command_line import Parser, add_speed_options, existing, main, read_config


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config()
    parser.add_argument(
        'checkpoint',
        nargs='?',
        type=existing('checkpoint'),
        help='weights; default: random, which takes the same time',
    )
    parser.add_shape('height, width', default=(224, 224))
    add_speed_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.measure.model_speed import format_row, measure_model, read_setting
    from vil_mm.progress import show_progress

    setting = read_setting(args)
    cfg = read_config(args)
    with show_progress() as progress:
        row = measure_model(cfg, args.shape, setting, args.checkpoint, progress)
    print(format_row(row, setting))


if __name__ == '__main__':
    main(make_parser(), run)
