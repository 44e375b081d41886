"""Train a segmentor on your own photos and masks: check, recode, split, train, compare.

    python tools/finetune.py --images PHOTOS --masks MASKS --classes background crack \\
        --from CHECKPOINT

docs/own_data.md explains which masks and file names are supported.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from shlex import quote

from command_line import Parser, existing, main, one_line_errors, positive

OUT = 'work_dirs/own_data'


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--images',
        required=True,
        type=folder,
        metavar='FOLDER',
        help='photos; subfolders train and val, if present, define the split',
    )
    parser.add_argument(
        '--masks', required=True, type=folder, metavar='FOLDER', help='masks, named like the photos'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='class names in the order of their values, including the background',
    )
    parser.add_argument(
        '--values',
        nargs='+',
        metavar='CLASS=VALUE',
        help='value of each class, if it is not obvious: background=0 crack=128,255, or '
        "'crack=#ff0000'; ignore=VALUE has no class, CLASS=rest takes all other values",
    )
    parser.add_argument(
        '--from',
        dest='start',
        type=existing('checkpoint'),
        metavar='CHECKPOINT',
        help='weights of a segmentor, an ImageNet classifier or a backbone to start from; '
        'without, training needs many photos and a GPU',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path(OUT),
        metavar='FOLDER',
        help=f'new folder; default: {OUT}',
    )
    parser.add_argument(
        '--prepare-only', action='store_true', help='write masks, lists and config; do not train'
    )
    parser.add_argument(
        '--skip-unpaired',
        action='store_true',
        help='leave out photos without a mask and masks without a photo',
    )
    parser.add_argument('--seed', type=int, default=0, help='random seed of split and training')
    sizes = parser.add_argument_group('override what is chosen by device and data')
    sizes.add_argument('--iters', type=at_least_two, metavar='N', help='number of updates')
    sizes.add_argument('--batch-size', type=at_least_two, metavar='N', help='photos per update')
    sizes.add_argument(
        '--crop', type=patches, nargs=2, metavar=('ROWS', 'COLUMNS'), help='training crop in pixels'
    )
    return parser


def folder(text: str) -> str:
    """An existing folder."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f'no such folder: {text} (looked from {Path.cwd()})')
    return text


def at_least_two(text: str) -> int:
    """At least 2: batch norm needs two photos, and the schedule needs two updates."""
    if positive(text) < 2:
        raise argparse.ArgumentTypeError('expected 2 or more')
    return int(text)


def patches(text: str) -> int:
    """A side made of whole patches."""
    if positive(text) % 16:
        raise argparse.ArgumentTypeError(f'expected a multiple of 16, got {text}')
    return int(text)


def run(args: argparse.Namespace) -> None:
    from vil_mm.own_data import FinetuneOptions, prepare
    from vil_mm.own_data.run import evaluate, prepare_to_train
    from vil_mm.progress import show_progress
    from vil_mm.runs.build import build_runner
    from vil_mm.runs.work_dir import hold_work_dir

    options = FinetuneOptions(
        images=args.images,
        masks=args.masks,
        classes=args.classes,
        values=args.values,
        start=args.start,
        skip_unpaired=args.skip_unpaired,
        seed=args.seed,
        max_iters=args.iters,
        crop_size=args.crop,
        batch_size=args.batch_size,
    )
    with one_line_errors(OSError, ValueError):
        with show_progress() as progress:
            config = prepare(options, args.out, progress=progress)
        print(f'config   {config}', flush=True)
        if args.prepare_only:
            print(f'train    python tools/train.py {quote(str(config))}')
            return
        cfg = prepare_to_train(config)
    if cfg is not None:
        with hold_work_dir(cfg):
            build_runner(cfg).train()
    result = evaluate(config)
    print('', *result.lines(), sep='\n')
    files = f'{quote(str(config))} {quote(str(result.checkpoint))}'
    print(f'\npictures   {result.pictures} (photo, mask, prediction)')
    print(f'config     {config}')
    print(f'checkpoint {result.checkpoint}')
    print(f'predict    python tools/image_demo.py NEW_PHOTOS {files} --out OUT')


if __name__ == '__main__':
    main(make_parser(), run, expected=())  # errors during a run keep their traceback
