"""Draw what training sees: `python tools/browse_dataset.py CONFIG --output-dir DIR`."""

from __future__ import annotations

import argparse

from command_line import Parser, folder, main, positive, read_config

MODES = ('original', 'transformed', 'concat', 'pipeline')


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config(help='config file of a segmentor or classifier')
    parser.add_argument(
        '--output-dir', '-o', type=folder, required=True, metavar='DIR', help='folder for the PNGs'
    )
    parser.add_argument('--phase', '-p', choices=('train', 'val', 'test'), default='train')
    parser.add_argument(
        '--show-number', '-n', type=positive, metavar='N', help='the first N images; default: all'
    )
    parser.add_argument(
        '--mode',
        '-m',
        choices=MODES,
        default='transformed',
        help='as loaded; after the pipeline; both; or after every transform',
    )
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.pictures.browse import browse
    from vil_mm.progress import show_progress

    with show_progress() as progress:
        files = browse(
            read_config(args),
            args.output_dir,
            phase=args.phase,
            mode=args.mode,
            number=args.show_number,
            progress=progress,
        )
    print(f'{len(files)} pictures in {args.output_dir}')


if __name__ == '__main__':
    main(make_parser(), run)
