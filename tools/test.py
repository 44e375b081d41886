"""Test a checkpoint: `python tools/test.py CONFIG CHECKPOINT` prints mIoU, accuracy or mAP.

Log and metrics go to the folder `test` in the training's work dir.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from command_line import (
    Parser,
    existing,
    folder,
    main,
    one_line_errors,
    read_config,
    run_parser,
    seconds,
)


def make_parser() -> Parser:
    parser = run_parser(__doc__)
    parser.add_argument(
        'checkpoint', type=existing('checkpoint'), help='weights of the whole model'
    )
    parser.add_argument(
        '--out',
        type=folder,
        metavar='DIR',
        help='write predictions to DIR: label maps, predictions.npz (classifiers) or COCO results '
        '(detectors)',
    )
    parser.add_argument(
        '--show-dir',
        type=folder,
        metavar='DIR',
        help='draw predictions next to input and ground truth, or for classifiers into the '
        'images: DIR/<image name>.png',
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--wait-time',
        type=seconds,
        default=2.0,
        metavar='SECONDS',
        help='how long --show shows each picture; 0 waits for a key (2)',
    )
    parser.add_argument(
        '--protocol',
        metavar='NAME',
        help="one of the config's evaluation protocols: official (default) or community; see "
        'docs/segmentation.md',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument(
        '--tiled',
        action='store_true',
        help='predict in windows with bounded memory, for images of any size; see '
        'docs/high_resolution.md',
    )
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.runs.build import build_runner
    from vil_mm.runs.distributed import prepare_processes
    from vil_mm.runs.launch import prepare_testing

    with one_line_errors(OSError, ValueError):
        cfg = read_config(args)
        if not args.work_dir:  # separate from the training
            cfg.work_dir = str(Path(cfg.work_dir, 'test'))
        prepare_testing(
            cfg,
            args.checkpoint,
            out=args.out,
            show_dir=args.show_dir,
            show=args.show,
            wait_time=args.wait_time,
            protocol=args.protocol,
            tta=args.tta,
            tiled=args.tiled,
        )
        prepare_processes(cfg)
    build_runner(cfg).test()


if __name__ == '__main__':
    main(make_parser(), run, expected=())
