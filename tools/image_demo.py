"""Draw predictions over images: ``python tools/image_demo.py IMAGE CONFIG CKPT --out OUT``.

IMAGE may be a folder of images or a video. CONFIG is a config file or a model name from the zoo.
"""

from __future__ import annotations

import argparse
import sys

from command_line import Parser, existing, main, read_config, share


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument(
        'source',
        type=existing('image'),
        metavar='IMAGE',
        help='image, folder of images, or video',
    )
    parser.add_config()
    parser.add_argument(
        'checkpoint', type=existing('checkpoint'), help='weights of the whole model'
    )
    parser.add_argument(
        '--out',
        '--out-file',
        required=True,
        help='file or folder to write; a folder for a folder of images',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: the best available')
    parser.add_argument(
        '--opacity',
        type=share,
        help="opacity of the classes' colours, 0 to 1 (0.65); segmentation only",
    )
    parser.add_argument(
        '--full-size',
        action='store_true',
        help='predict in windows instead of resizing, for images much larger than those of the '
        'training',
    )
    parser.add_argument(
        '--side-by-side', action='store_true', help='show the image next to its prediction'
    )
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.apis import ClsInferencer, SegInferencer
    from vil_mm.apis.demo import UnreadableImages, draw_all, plan_outputs
    from vil_mm.progress import show_progress
    from vil_mm.runs.tasks import classification, find_task

    pairs = plan_outputs(args.source, args.out)
    options = {'device': args.device, 'cfg_options': args.cfg_options}
    if find_task(read_config(args)) is classification:
        if args.full_size or args.opacity is not None:
            name = '--full-size' if args.full_size else '--opacity'
            raise ValueError(f'{name} is for segmentation only: leave it out for a classifier')
        inferencer = ClsInferencer(args.config, args.checkpoint, **options)
    else:
        inferencer = SegInferencer(
            args.config, args.checkpoint, full_size=args.full_size, **options
        )
        if args.opacity is not None:
            inferencer.visualizer.alpha = args.opacity
    with show_progress() as progress:
        wrong = draw_all(inferencer, pairs, side_by_side=args.side_by_side, progress=progress)
    print(*(target for _, target in pairs if target not in wrong), sep='\n')
    if wrong:
        print('', *wrong.values(), sep='\n', file=sys.stderr)
        raise UnreadableImages(f'{len(wrong)} of {len(pairs)} images could not be read')


if __name__ == '__main__':
    main(make_parser(), run)
