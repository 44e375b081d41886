"""Export a model to ONNX or as PyTorch's exported program, and compare it with the model.

``python tools/export.py CONFIG CHECKPOINT --part whole --shape 512 512 --out model.onnx``
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from command_line import Parser, main, read_config

if TYPE_CHECKING:
    from vil_mm.export import Report

FORMATS = ('onnx', 'torch-export')
PARTS = ('backbone', 'whole')


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_config()
    parser.add_weights()
    parser.add_argument('--format', choices=FORMATS, default='onnx')
    parser.add_argument('--part', choices=PARTS, default='whole', help='default: whole')
    parser.add_shape('side, or height and width, of the images; fixed in the file', required=True)
    parser.add_argument('--out', required=True, metavar='FILE', help='*.onnx or *.pt2')
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference from the model, relative to the largest value (1e-4)',
    )
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    import torch

    from vil_mm.export import OPSET, check_target, export, find_backend, wrap_model
    from vil_mm.models.inspection import count_channels
    from vil_mm.runs.build import load_model

    torch.manual_seed(0)
    check_target(args.out, args.format)
    shape = args.shape
    model = load_model(read_config(args), args.checkpoint)
    function = wrap_model(model, args.part, shape)
    choice = find_backend(model.backbone, shape)
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
    size = f'{count_channels(model.backbone)}, {shape[0]}, {shape[1]}'
    print(f'input     images (batch, {size}) float32: {function.takes}')
    if choice is not None:
        chunks = f', {choice.chunk_size} tokens per chunk' if choice.chunk_size else ''
        print(f'mLSTM     {choice.backend}{chunks}')
    print_report(report)


def print_report(report: Report) -> None:
    import torch

    print(f'nodes     {report.nodes}')
    for x in report.differences:
        size = ', '.join(map(str, x.shape))
        print(
            f'output    {x.name} (batch, {size}): largest difference {x.largest:.1e}, '
            f'{x.relative:.1e} of the largest value'
        )
    print(
        f'one image {1000 * report.file_seconds:.0f} ms with the file, '
        f'{1000 * report.eager_seconds:.0f} ms in eager mode, {torch.get_num_threads()} threads'
    )


if __name__ == '__main__':
    main(make_parser(), run)
