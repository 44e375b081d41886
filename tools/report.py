"""Sum up a run that was trained and tested: ``python tools/report.py CONFIG WORK_DIR``."""

from __future__ import annotations

import argparse

from vil_mm.analysis.report import report
from vil_mm.engine.launch import read_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the run')
    parser.add_argument('work_dir', help='folder of the training; its test wrote to WORK_DIR/test')
    args = parser.parse_args()
    try:
        print(report(read_config(args.config), args.work_dir))
    except (OSError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')


if __name__ == '__main__':
    main()
