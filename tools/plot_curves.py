"""Draw loss and mIoU of a run: ``python tools/plot_curves.py work_dirs/RUN``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vil_mm.analysis.curves import plot_curves


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', type=Path, help='folder in which the run has written')
    parser.add_argument('--out', type=Path, help='PNG to write; default: WORK_DIR/curves.png')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(plot_curves(args.work_dir, args.out or args.work_dir / 'curves.png'))


if __name__ == '__main__':
    main()
