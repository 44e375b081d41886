"""Train a segmentor on your own photos and masks: look, recode, split, train, compare.

    python tools/finetune.py --images PHOTOS --masks MASKS --classes background crack \\
        --from CHECKPOINT

docs/own_data.md says which masks and names are understood, and by which rules.
"""

from __future__ import annotations

import argparse
from pathlib import Path

NEW = 'work_dirs/own_data'
MANY = 100  # pairs, from which looking at them takes long enough for a progress bar


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--images', required=True, metavar='FOLDER', help='photos; subfolders '
                        'train and val, if there are such, are the split')  # fmt: skip
    parser.add_argument(
        '--masks', required=True, metavar='FOLDER', help='masks, named as the photos'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='in the order of the values; the background too',
    )
    parser.add_argument(
        '--values',
        nargs='+',
        metavar='CLASS=VALUE',
        help='which value is which class, where that is not clear: background=0 crack=128,255, or '
        "'crack=#ff0000'; ignore=VALUE has no class, CLASS=rest is all other values",
    )
    parser.add_argument(
        '--from',
        dest='start',
        metavar='CHECKPOINT',
        help='weights to start from: of a segmentor, of an ImageNet classifier, or an official '
        'file of the backbone; default: none, which needs many photos and a GPU',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path(NEW),
        metavar='FOLDER',
        help=f'what is made; default: {NEW}',
    )
    parser.add_argument(
        '--prepare-only', action='store_true', help='write masks, lists and config; do not train'
    )
    parser.add_argument(
        '--skip-unpaired',
        action='store_true',
        help='leave out photos without mask, and masks without photo',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split and the training')
    sizes = parser.add_argument_group('instead of what is chosen by device and data')
    sizes.add_argument('--iters', type=int, metavar='N', help='updates')
    sizes.add_argument('--batch-size', type=int, metavar='N', help='photos an update')
    sizes.add_argument('--crop', type=int, nargs=2, metavar=('ROWS', 'COLUMNS'))
    args = parser.parse_args()
    _check(parser, args)
    return parser, args


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """What can be seen before torch is imported, which takes seconds."""
    for option in ('images', 'masks'):
        if not Path(getattr(args, option)).is_dir():
            parser.error(
                f'--{option} {getattr(args, option)}: no such folder (looked from {Path.cwd()})'
            )
    if args.start and not Path(args.start).is_file():
        parser.error(f'--from {args.start}: no such file (looked from {Path.cwd()})')
    if args.iters is not None and args.iters < 2:
        parser.error('--iters has to be 2 or more')
    if args.batch_size is not None and args.batch_size < 2:
        parser.error('--batch-size has to be 2 or more: batch norm cannot learn from one photo')
    if args.crop and any(side < 16 or side % 16 for side in args.crop):
        parser.error('--crop has to be multiples of 16, the side of a patch')


def main() -> None:
    parser, args = parse_args()
    import vil_mm  # noqa: F401  registers models, data sets and hooks
    from vil_mm.engine.cli import LazyBar
    from vil_mm.engine.optim import TrainingDivergedError
    from vil_mm.own_data import Wishes, prepare
    from vil_mm.own_data.run import evaluate, train

    wishes = Wishes(
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
    try:
        bar = LazyBar()
        config = prepare(wishes, args.out, progress=lambda n: n > MANY and bar(n))
        print(f'config   {config}', flush=True)
        if args.prepare_only:
            print(f'train    python tools/train.py {config}')
            return
        train(config)
        result = evaluate(config)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    except TrainingDivergedError as error:
        parser.exit(1, f'{parser.prog}: {error}\n')
    print('', *result.lines(), sep='\n')
    print(f'pictures   {result.pictures} (photo, mask, prediction)')
    print(f'config     {config}')
    print(f'checkpoint {result.checkpoint}')
    print(
        f'predict    python tools/image_demo.py NEW_PHOTOS {config} {result.checkpoint} --out OUT'
    )


if __name__ == '__main__':
    main()
