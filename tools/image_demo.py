"""Predict images and draw the result: ``python tools/image_demo.py IMAGE CONFIG CKPT --out OUT``.

IMAGE may be a folder of images or a video. CONFIG is a config file or a name of the model zoo.
"""

from __future__ import annotations

import argparse

from mmengine.config import DictAction

from vil_mm.apis import ClsInferencer, SegInferencer, find_config
from vil_mm.apis.demo import draw_all, plan
from vil_mm.engine.launch import read_config


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='IMAGE', help='image, folder of images, or video')
    parser.add_argument('config', help='config file, or name of a model of the zoo')
    parser.add_argument('checkpoint', help='weights of the whole model')
    parser.add_argument(
        '--out', required=True, help='file to write, or folder (for a folder of images: a folder)'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: the best there is')
    parser.add_argument(
        '--full-size',
        action='store_true',
        help='do not resize the image but predict by windows: for images much larger than those '
        'of the training',
    )
    parser.add_argument(
        '--side-by-side', action='store_true', help='draw the image beside its prediction'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='overrides: key=value, a.b.c="[1,2]"'
    )
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    options = {'device': args.device, 'cfg_options': args.cfg_options}
    try:
        pairs = plan(args.source, args.out)
        config = find_config(args.config)
        if read_config(str(config)).get('default_scope') == 'mmpretrain':
            if args.full_size:
                parser.error('--full-size is for segmentation: a classifier sees the whole image')
            inferencer = ClsInferencer(config, args.checkpoint, **options)
        else:
            options['full_size'] = args.full_size
            inferencer = SegInferencer(config, args.checkpoint, **options)
        draw_all(inferencer, pairs, side_by_side=args.side_by_side)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    print(*(target for _, target in pairs), sep='\n')


if __name__ == '__main__':
    main()
