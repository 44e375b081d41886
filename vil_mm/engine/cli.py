"""Command-line options that the tools share."""

from __future__ import annotations

import argparse
import os

from mmengine.config import Config, DictAction
from mmengine.utils import ProgressBar

from vil_mm.engine.launch import read_config


def run_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options of every run, in the manner of OpenMMLab's own tools."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where to write; default: work_dirs/<config name>')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='overrides: key=value, a.b.c="[1,2]"'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser


def config_of(args: argparse.Namespace) -> Config:
    """The config that options of :func:`run_parser` ask for."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return read_config(
        args.config, work_dir=args.work_dir, launcher=args.launcher, options=args.cfg_options
    )


class LazyBar:
    """A progress bar that begins with the first step, when the number of all is known."""

    bar: ProgressBar | None = None

    def __call__(self, total: int) -> None:
        self.bar = self.bar or ProgressBar(total)
        self.bar.update()
