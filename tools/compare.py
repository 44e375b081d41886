"""Measure models side by side: `python tools/compare.py CONFIG CONFIG --shapes 224 512 1024`."""

from __future__ import annotations

import argparse
from pathlib import Path

from command_line import Parser, add_speed_options, folder, main, positive, read_config


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config('configs', nargs='+', metavar='CONFIG')
    parser.add_argument(
        '--shapes',
        type=positive,
        nargs='+',
        default=[224, 512],
        metavar='PIXELS',
        help='sides of square images',
    )
    parser.add_argument(
        '--out',
        type=folder,
        default='work_dirs/compare',
        metavar='DIR',
        help='folder for compare.png, .json and .csv',
    )
    add_speed_options(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.measure.compare import compare_models, plot_comparison, table
    from vil_mm.measure.model_speed import read_setting
    from vil_mm.measure.speed import environment, write
    from vil_mm.progress import show_progress

    setting, out = read_setting(args), Path(args.out)
    configs = {
        Path(path).stem: read_config(argparse.Namespace(config=path, cfg_options=args.cfg_options))
        for path in args.configs
    }
    if len(configs) < len(args.configs):
        raise ValueError('two of the configs have the same name')
    with show_progress() as progress:
        rows = compare_models(configs, args.shapes, setting, progress)
    print(*table(rows), sep='\n')
    picture = plot_comparison(rows, setting, out / 'compare.png')
    write(out / 'compare.json', rows, {**environment(setting.device), **setting.as_row()})
    print(f'written: {picture}')


if __name__ == '__main__':
    main(make_parser(), run)
