"""Sum up a run that was trained and tested: ``python tools/report.py CONFIG WORK_DIR``."""

from __future__ import annotations

import argparse

from mmengine.config import Config

from vil_mm.analysis.report import report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the run')
    parser.add_argument('work_dir', help='folder of the training; its test wrote to WORK_DIR/test')
    args = parser.parse_args()
    print(report(Config.fromfile(args.config), args.work_dir))


if __name__ == '__main__':
    main()
