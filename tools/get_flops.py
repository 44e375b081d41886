"""Count a model's multiply-adds: `python tools/get_flops.py CONFIG --shape 512 512`."""

from __future__ import annotations

import argparse

from command_line import Parser, main, read_config

CELL_BACKENDS = ('auto', 'parallel', 'chunkwise', 'triton')


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_config()
    parser.add_shape('height, width', default=(224, 224))
    parser.add_device()
    parser.add_argument(
        '--backend',
        choices=CELL_BACKENDS,
        default='auto',
        help='backend of the mLSTM cell; auto: the one that runs on the device; triton: the CUDA '
        'kernels, which can be counted without a GPU',
    )
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.measure.flops import count_flops, format_count
    from vil_mm.runs.build import build_model
    from vil_mm.runs.devices import check_device, find_device

    device = args.device or find_device()
    check_device(device)
    count = count_flops(build_model(read_config(args), device), args.shape, args.backend)
    print(format_count(count, args.shape, device))


if __name__ == '__main__':
    main(make_parser(), run)
