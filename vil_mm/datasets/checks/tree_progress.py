"""How far a check of files is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import io
import sys
import time
from typing import TextIO

from mmengine.utils import ProgressBar

PATIENCE = 2.0  # seconds before anything is shown: what is done sooner needs no bar
LOG_EVERY = 30.0  # seconds between two lines where there is no terminal


class TreeProgress:
    """Shows the steps that ``check_tree`` tells, on standard error.

    Args:
        file: Where to write instead.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file or sys.stderr
        self.what = ''

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self.what:
            self._begin(what, total)
        if done > self.bar.completed:
            self.bar.update(done - self.bar.completed)
        now = time.monotonic()
        if self.file.isatty():
            if self.bar.file is not self.file and now - self.begun >= PATIENCE:
                self.file.write(f'checking {what}\n')
                self.bar.file = self.file
            if done >= total and self.bar.file is self.file:
                self.file.write('\n')
        elif now - self.told >= LOG_EVERY:
            self.told = now
            self.file.write(f'checking {what}: {done:,} of {total:,}\n')
            self.file.flush()

    def _begin(self, what: str, total: int) -> None:
        self.what = what
        self.begun = self.told = time.monotonic()
        self.bar = ProgressBar(total, file=io.StringIO())  # hidden until it is worth showing
