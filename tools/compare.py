"""Measure models side by side: `python tools/compare.py CONFIG CONFIG --shapes 224 512 1024`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.utils import ProgressBar

import vil_mm  # noqa: F401  registers models
from vil_mm.analysis.compare import compare_models, plot_comparison, table
from vil_mm.analysis.speed import environment, write
from vil_mm.analysis.speed_cli import add_speed_options, read_setting
from vil_mm.analysis.whole_model import read_shape
from vil_mm.engine.launch import read_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config files')
    parser.add_argument(
        '--shapes',
        type=int,
        nargs='+',
        default=[224, 512],
        metavar='PIXELS',
        help='sides of square images',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/compare'),
        metavar='DIR',
        help='gets compare.png, .json and .csv',
    )
    add_speed_options(parser)
    args = parser.parse_args()
    try:
        setting = read_setting(args)
        sides = [read_shape([side])[0] for side in args.shapes]
        configs = {
            Path(path).stem: read_config(path, options=args.cfg_options) for path in args.configs
        }
        if len(configs) < len(args.configs):
            raise ValueError('two of the configs have the same name')
        bar = ProgressBar(len(configs) * len(sides))
        rows = compare_models(configs, sides, setting, bar.update)
        print('\n' + '\n'.join(table(rows)))
        picture = plot_comparison(rows, setting, args.out / 'compare.png')
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    write(args.out / 'compare.json', rows, {**environment(args.device), **setting.as_row()})
    print(f'written: {picture}')


if __name__ == '__main__':
    main()
