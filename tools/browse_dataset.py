"""Draw what training sees: `python tools/browse_dataset.py CONFIG --output-dir DIR`."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

import vil_mm  # noqa: F401  registers data sets and transforms
from vil_mm.analysis.browse import MODES, browse
from vil_mm.datasets import DatasetError
from vil_mm.engine.cli import LazyBar
from vil_mm.engine.launch import read_config


def parser_of() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a segmentor or classifier')
    parser.add_argument('--output-dir', '-o', required=True, metavar='DIR', help='gets the PNGs')
    parser.add_argument('--phase', '-p', choices=('train', 'val', 'test'), default='train')
    parser.add_argument(
        '--show-number', '-n', type=int, metavar='N', help='the first N images; default: all'
    )
    parser.add_argument(
        '--mode',
        '-m',
        choices=MODES,
        default='transformed',
        help='as loaded; as the pipeline leaves it; both; or after every transform',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')
    return parser


def main() -> None:
    parser = parser_of()
    args = parser.parse_args()
    try:
        files = browse(
            read_config(args.config, options=args.cfg_options),
            args.output_dir,
            phase=args.phase,
            mode=args.mode,
            number=args.show_number,
            progress=LazyBar(),
        )
    except (OSError, ValueError, DatasetError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    print(f'\n{len(files)} pictures in {args.output_dir}')


if __name__ == '__main__':
    main()
