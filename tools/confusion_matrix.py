"""Draw which classes are taken for which: `python tools/confusion_matrix.py CONFIG CKPT`."""

from __future__ import annotations

import argparse
from pathlib import Path

import mmengine
from mmengine.config import DictAction

import vil_mm  # noqa: F401  registers models, data sets and hooks
from vil_mm.analysis.confusion import check_cmap, confusion_of, most_confused, plot_confusion
from vil_mm.datasets import DatasetError
from vil_mm.engine.cli import LazyBar
from vil_mm.engine.launch import read_config
from vil_mm.models.pretrained import CheckpointError


def parser_of() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'ckpt_or_result',
        help='checkpoint; or what tools/test.py --out wrote: folder of label maps, predictions.pkl',
    )
    parser.add_argument('--out', type=Path, help='write the counts to this .pkl or .json, too')
    parser.add_argument(
        '--show-path', type=Path, help='PNG to write; default: CONFIG_confusion.png'
    )
    parser.add_argument('--top', type=int, default=10, help='pairs to print')
    parser.add_argument('--title', help='title of the picture')
    parser.add_argument('--cmap', default='viridis', help='colour map of matplotlib')
    parser.add_argument(
        '--include-values', action='store_true', help='percentages in the cells of large matrices'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')
    return parser


def check(args: argparse.Namespace) -> None:
    """Fail before a long test if what follows it cannot be done.

    Raises:
        ValueError: A colour map, a number or the name of a file to write is not fit for that.
    """
    check_cmap(args.cmap)
    if args.top < 1:
        raise ValueError(f'--top {args.top}: expected 1 or more')
    for option, path, endings in (
        ('--show-path', args.show_path, ('.png',)),
        ('--out', args.out, ('.pkl', '.json')),
    ):
        if path and (path.suffix not in endings or path.is_dir()):
            names = ' or '.join(f'*{ending}' for ending in endings)
            raise ValueError(f'{option} {path}: expected the name of a file {names}')


def main() -> None:
    parser = parser_of()
    args = parser.parse_args()
    out = args.show_path or Path(f'{Path(args.config).stem}_confusion.png')
    try:
        check(args)
        cfg = read_config(args.config, options=args.cfg_options)
        matrix, classes = confusion_of(cfg, args.ckpt_or_result, LazyBar())
        plot_confusion(
            matrix, classes, out,
            title=args.title or Path(args.config).stem,
            cmap=args.cmap,
            include_values=args.include_values,
        )  # fmt: skip
        if args.out:
            mmengine.dump({'classes': classes, 'matrix': matrix.tolist()}, args.out)
    except (OSError, ValueError, CheckpointError, DatasetError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    print(f'\n{"true class":<24}{"taken for":<24}{"share":>8}{"count":>12}')
    for pair in most_confused(matrix, classes, args.top):
        print(f'{pair.truth:<24}{pair.taken_for:<24}{pair.share:>8.1%}{pair.count:>12,}')
    print(f'written: {out}')


if __name__ == '__main__':
    main()
