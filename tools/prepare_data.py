"""Check a data set that was downloaded and unpacked: ``... ade20k --check data/ade/...``.

Prints what is wrong and what to do about it. The exit code is 0 if nothing is, 1 if something is,
2 if the data set could not be checked. docs/datasets.md tells where to get each set.
"""

from __future__ import annotations

import argparse
from concurrent.futures.process import BrokenProcessPool

from vil_mm.datasets.layouts import LAYOUTS
from vil_mm.datasets.tree_check import check_tree
from vil_mm.datasets.tree_progress import TreeProgress


def parser_of() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', choices=LAYOUTS, help='which data set')
    parser.add_argument('--check', metavar='ROOT', required=True, help='folder of the data set')
    parser.add_argument(
        '--workers', type=int, help='processes that read files; default: one a processor'
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


def main() -> None:
    parser = parser_of()
    args = parser.parse_args()
    if args.workers is not None and args.workers < 1:
        parser.error(f'--workers {args.workers}: expected 1 or more')
    try:
        report = check_tree(
            args.name,
            args.check,
            workers=args.workers,
            quick=args.quick,
            any_count=args.any_count,
            progress=TreeProgress(),
        )
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    except BrokenProcessPool:
        parser.exit(
            2, f'{parser.prog}: the system ended a process, short of memory? Try --workers 1\n'
        )
    except KeyboardInterrupt:
        parser.exit(130, f'\n{parser.prog}: stopped before the end, nothing was changed\n')
    print(report.text())
    parser.exit(1 if report.problems else 0)


if __name__ == '__main__':
    main()
