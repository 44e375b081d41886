"""Write a model to a file for other programs, and check the file against the model.

``python tools/export.py CONFIG CHECKPOINT --part whole --shape 512 512 --out model.onnx``
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from mmengine.config import DictAction

import vil_mm  # noqa: F401  registers models
from vil_mm.analysis.subject import load_model
from vil_mm.analysis.whole_model import read_shape
from vil_mm.engine.launch import read_config
from vil_mm.export import (
    FORMATS,
    OPSET,
    PARTS,
    Report,
    channels_of,
    check_target,
    deployed,
    export,
    form_of,
)


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='weights; without, they are random')
    parser.add_argument('--format', choices=FORMATS, default='onnx')
    parser.add_argument('--part', choices=PARTS, default='whole', help='default: whole')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        required=True,
        metavar='PIXELS',
        help='side, or height and width, of the images; fixed in the file',
    )
    parser.add_argument('--out', required=True, metavar='FILE', help='*.onnx or *.pt2')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference from the model, as a share of the largest value (1e-4)',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='overrides: key=value, a.b.c="[1,2]"'
    )
    return parser, parser.parse_args()


def run(args: argparse.Namespace) -> None:
    check_target(args.out, args.format)
    shape = read_shape(args.shape)
    cfg = read_config(args.config, options=args.cfg_options)
    model = load_model(cfg, args.checkpoint)
    function = deployed(model, args.part, shape)
    form = form_of(model.backbone, shape)
    start = time.monotonic()

    def say(step: str) -> None:
        print(f'[{time.monotonic() - start:5.0f} s] {step}', file=sys.stderr, flush=True)

    report = export(
        model,
        args.out,
        shape,
        part=args.part,
        format=args.format,
        tolerance=args.tolerance,
        say=say,
    )
    kind = f'ONNX opset {OPSET}' if args.format == 'onnx' else f'torch {torch.__version__} program'
    print(f'{report.path}: {kind}, {report.path.stat().st_size / 2**20:.1f} MiB')
    size = f'{channels_of(model.backbone)}, {shape[0]}, {shape[1]}'
    print(f'input     images (batch, {size}) float32: {function.takes}')
    if form is not None:
        chunks = f', {form.chunk_size} tokens a chunk' if form.chunk_size else ''
        print(f'mLSTM     {form.backend} form{chunks}')
    print_report(report)


def print_report(report: Report) -> None:
    print(f'nodes     {report.nodes}')
    for x in report.differences:
        size = ', '.join(map(str, x.shape))
        print(
            f'output    {x.name} (batch, {size}): largest difference {x.largest:.1e}, '
            f'{x.relative:.1e} of the largest value'
        )
    print(
        f'one image {1000 * report.file_seconds:.0f} ms by the file, '
        f'{1000 * report.eager_seconds:.0f} ms in eager mode, {torch.get_num_threads()} threads'
    )


def main() -> None:
    parser, args = parse_args()
    torch.manual_seed(0)
    try:
        run(args)
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')


if __name__ == '__main__':
    main()
