"""Draw a config's learning rate against its recipe: ``python tools/plot_schedule.py CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path

import vil_mm  # noqa: F401  registers schedulers
from vil_mm.analysis.schedule import plot_schedule
from vil_mm.engine.launch import read_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of a training')
    parser.add_argument('--out', type=Path, help='PNG to write; default: CONFIG_schedule.png')
    args = parser.parse_args()
    out = args.out or Path(f'{Path(args.config).stem}_schedule.png')
    try:
        difference = plot_schedule(read_config(args.config), out)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f'{parser.prog}: {error}\n')
    print(f'{out}: largest relative difference from the formula {difference:.2g}')


if __name__ == '__main__':
    main()
