"""Check a data set that was downloaded and unpacked: ``... ade20k --check data/ade/...``.

Prints what is wrong and what to do about it. The exit code is 0 if nothing is, 1 if something is,
2 if the data set could not be checked. docs/datasets.md tells where to get each set.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures.process import BrokenProcessPool

from command_line import Parser, existing, main, positive

LAYOUTS = ('ade20k', 'imagenet', 'camvid', 'cityscapes')


def parser_of() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=LAYOUTS, help='which data set')
    parser.add_argument(
        '--check',
        type=existing('folder'),
        metavar='ROOT',
        required=True,
        help='folder of the data set',
    )
    parser.add_argument(
        '--workers', type=positive, help='processes that read files; default: one a processor'
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='read headers and ends of files only: faster, but damage in between and wrong label '
        'values are not seen',
    )
    parser.add_argument(
        '--any-count',
        action='store_true',
        help='the set is a deliberate subset: accept any number of files and classes',
    )
    return parser


def run(args: argparse.Namespace) -> None:
    from vil_mm.datasets.tree_check import check_tree
    from vil_mm.datasets.tree_progress import TreeProgress

    try:
        report = check_tree(
            args.name,
            args.check,
            workers=args.workers,
            quick=args.quick,
            any_count=args.any_count,
            progress=TreeProgress(),
        )
    except BrokenProcessPool as error:
        raise OSError('the system ended a process, short of memory? Try --workers 1') from error
    except KeyboardInterrupt:
        print('\nprepare_data.py: stopped before the end, nothing was changed', file=sys.stderr)
        raise SystemExit(130) from None
    print(report.text())
    raise SystemExit(1 if report.problems else 0)


if __name__ == '__main__':
    main(parser_of(), run)
