"""Tiny runs that are broken in many ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from running import run_here

__all__ = ['run_here']

# saves after each iteration, keeps one checkpoint and the best one, validates twice
RUN = """
_base_ = './tiny.py'
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1))
"""


@pytest.fixture(scope='session')
def write_run(write_tiny_config: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Writes ``run.py``, of four iterations that change with every seed, into a folder."""

    def write(folder: Path, more: str = '') -> Path:
        write_tiny_config(folder)
        (folder / 'run.py').write_text(RUN + more)
        return folder / 'run.py'

    return write
