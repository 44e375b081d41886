"""Draw a confusion matrix: `python tools/confusion_matrix.py CONFIG CKPT`."""

from __future__ import annotations

import argparse
from pathlib import Path

from command_line import Parser, existing, main, output, positive, read_config


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config()
    parser.add_argument(
        'ckpt_or_result',
        type=existing('checkpoint or result'),
        help='checkpoint, or output of tools/test.py --out: folder of label maps, predictions.npz',
    )
    parser.add_argument('--out', type=output('.json'), help='also write the counts, to this .json')
    parser.add_argument(
        '--show-path', type=output('.png'), help='PNG to write; default: CONFIG_confusion.png'
    )
    parser.add_argument('--top', type=positive, default=10, help='number of pairs to print')
    parser.add_argument('--title', help='title of the picture')
    parser.add_argument('--cmap', default='viridis', help='colour map of matplotlib')
    parser.add_argument(
        '--include-values', action='store_true', help='show percentages in large matrices, too'
    )
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    import mmengine

    from vil_mm.pictures.confusion import check_cmap, count_confusion, most_confused, plot_confusion
    from vil_mm.progress import show_progress

    out = args.show_path or Path(f'{Path(args.config).stem}_confusion.png')
    check_cmap(args.cmap)  # before a long test
    with show_progress() as progress:
        matrix, classes = count_confusion(read_config(args), args.ckpt_or_result, progress)
    plot_confusion(
        matrix, classes, out,
        title=args.title or f'{Path(args.config).stem}, {_name(args.ckpt_or_result)}',
        cmap=args.cmap,
        include_values=args.include_values,
    )  # fmt: skip
    if args.out:
        mmengine.dump({'classes': classes, 'matrix': matrix.tolist()}, args.out)
    print(f'{"true class":<24}{"taken for":<24}{"share":>8}{"count":>12}')
    for pair in most_confused(matrix, classes, args.top):
        print(f'{pair.truth:<24}{pair.taken_for:<24}{pair.share:>8.1%}{pair.count:>12,}')
    print(f'written: {out}')


def _name(source: str) -> str:
    """The last two parts of a path: the run's folder and the file."""
    return '/'.join(Path(source).resolve().parts[-2:])


if __name__ == '__main__':
    main(make_parser(), run)
