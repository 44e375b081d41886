"""Train a model: `python tools/train.py CONFIG`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from command_line import Parser, main, one_line_errors, read_config, run_parser

PRECISIONS = ('auto', 'float16', 'bfloat16')


def make_parser() -> Parser:
    parser = run_parser(__doc__)
    parser.add_argument(
        '--resume', action='store_true', help='continue from the last checkpoint in the work dir'
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=PRECISIONS,
        help='mixed precision: float16 with loss scaling (GPUs only) or bfloat16; without a '
        "value, the config's, else float16 on a GPU and bfloat16 on a CPU",
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch size relative to the config's base_batch_size",
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate during training'
    )
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.runs.build import build_runner
    from vil_mm.runs.distributed import prepare_processes
    from vil_mm.runs.finished import describe_finished
    from vil_mm.runs.launch import prepare_training
    from vil_mm.runs.screen import is_first_process
    from vil_mm.runs.work_dir import hold_work_dir, refuse_work_dir_in_use

    with ExitStack() as stack:
        with one_line_errors(OSError, ValueError):
            cfg = read_config(args)
            refuse_work_dir_in_use(cfg)
            if nothing_left := describe_finished(cfg, resume=args.resume):
                if is_first_process(cfg):
                    print(nothing_left)
                return
            prepare_training(
                cfg,
                resume=args.resume,
                amp=args.amp,
                auto_scale_lr=args.auto_scale_lr,
                validate=not args.no_validate,
            )
            prepare_processes(cfg)
            stack.enter_context(hold_work_dir(cfg))
        build_runner(cfg).train()


if __name__ == '__main__':
    main(make_parser(), run, expected=())  # errors during a run keep their traceback
