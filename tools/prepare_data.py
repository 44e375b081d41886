"""Check the data of a config, ``... CONFIG``, or a known data set, ``... ade20k --check FOLDER``.

With a config, every image and mask of its training, validation and test data is read; the exit
code is 2 if there are errors. With --check, a folder is compared with the published data set; the
exit code is 1 if they differ, 2 if the folder could not be checked. docs/datasets.md says where to
get the data.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures.process import BrokenProcessPool

from command_line import (
    Parser,
    Refusal,
    config_file,
    existing,
    main,
    one_line_errors,
    positive,
    read_config,
)

KNOWN_SETS = (
    'ade20k',
    'camvid',
    'cityscapes',
    'imagenet',
)  # those of vil_mm.datasets.checks.known_sets


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'name',
        metavar='CONFIG|SET',
        help=f'config file or model name; with --check, one of {", ".join(KNOWN_SETS)}',
    )
    parser.add_argument(
        '--check', type=existing('folder'), metavar='ROOT', help='folder of the SET'
    )
    parser.add_argument(
        '--workers', type=positive, help='parallel readers; default: one per processor'
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='with --check: read only the start and end of files, which is faster but misses '
        'other damage and wrong label values',
    )
    parser.add_argument(
        '--any-count',
        action='store_true',
        help='with --check: accept any number of files and classes, for a deliberate subset',
    )
    parser.add_cfg_options()
    return parser


def run(args: argparse.Namespace) -> None:
    with one_line_errors(Refusal):
        settle(args)
    try:
        code = check_folder(args) if args.check else check_config(args)
    except BrokenProcessPool as error:
        raise OSError('a process was killed, out of memory? Try --workers 1') from error
    except KeyboardInterrupt:
        print('\nprepare_data.py: interrupted, nothing was changed', file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(code)


def settle(args: argparse.Namespace) -> None:
    """Fail if arguments contradict each other; find the config."""
    if args.check:
        if args.name not in KNOWN_SETS:
            raise Refusal(f'--check takes one of {", ".join(KNOWN_SETS)}, got {args.name!r}')
        if args.cfg_options:
            raise Refusal('--cfg-options needs a config, not --check')
        return
    if args.name in KNOWN_SETS:
        raise Refusal(f'{args.name} is a data set: add --check ROOT, or name a config')
    if args.quick or args.any_count:
        raise Refusal('--quick and --any-count need --check ROOT')
    args.config = config_file(args.name)


def check_folder(args: argparse.Namespace) -> int:
    """Compare a folder with a published data set; returns the exit code."""
    from vil_mm.datasets.checks.tree import check_tree
    from vil_mm.progress import show_progress

    with show_progress() as progress:
        report = check_tree(
            args.name,
            args.check,
            workers=args.workers,
            quick=args.quick,
            any_count=args.any_count,
            progress=progress,
        )
    print(report.text())
    return 1 if report.problems else 0


def check_config(args: argparse.Namespace) -> int:
    """Read all data of a config; returns the exit code."""
    from vil_mm.progress import show_progress
    from vil_mm.runs.data import check_whole, raise_errors

    workers = args.workers or os.cpu_count() or 1
    with show_progress() as progress:
        reports = check_whole(read_config(args), workers=workers, progress=progress)
    lines = [f'warning: {line}' for report in reports for line in report.warnings]
    print('\n'.join([*lines, *(str(report) for report in reports if report.num_images)]))
    raise_errors(reports)
    return 0


if __name__ == '__main__':
    main(make_parser(), run)
