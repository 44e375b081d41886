"""Convert official ViL weights for OpenMMLab: `python tools/convert_checkpoint.py SRC DST`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from command_line import Parser, existing, main

if TYPE_CHECKING:
    from vil_mm.checkpoints.conversion import Conversion

TARGETS = ('classifier', 'backbone', 'official')


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument(
        'src',
        type=existing('checkpoint'),
        help='file in any layout listed in docs/checkpoints.md',
    )
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--to',
        choices=TARGETS,
        default='classifier',
        help='names for an mmpretrain classifier or for the backbone alone; official: convert a '
        'backbone or classifier of this package back to official names',
    )
    parser.add_argument('--force', action='store_true', help='replace an existing DST')
    return parser


def report(done: Conversion, dst: str) -> str:
    description = done.description
    layout = f'{description.layout} layout' if description.layout else 'names of this package'
    classes = f', {description.num_classes} classes' if description.num_classes else ''
    lines = [
        f'model:   {description}{classes}',
        f'layout:  {layout}, {description.num_parameters:,} parameters',
        f'sha256:  {done.sha256}',
        f'written: {dst}, {done.num_tensors} tensors, {done.num_parameters:,} parameters',
    ]
    if done.left_out:
        parts = ', '.join(f'{part} ({count} tensors)' for part, count in done.left_out.items())
        lines.append(f'left out: {parts}; official files have no place for them')
    if done.backbone:
        lines.append(f'use as:  VisionLSTM({_options(done.backbone)})')
    if done.head:
        lines.append(f'         LinearClsHead({_options(done.head)})')
    if done.backbone:
        lines.append('         (stride, traversal and the kind of pooling are not in the weights)')
    return '\n'.join(lines)


def _options(options: dict) -> str:
    return ', '.join(f'{name}={value!r}' for name, value in options.items())


def run(args: argparse.Namespace) -> None:
    from vil_mm.checkpoints.conversion import convert_checkpoint

    done = convert_checkpoint(args.src, args.dst, to=args.to, force=args.force)
    print(report(done, args.dst))


if __name__ == '__main__':
    main(make_parser(), run)
