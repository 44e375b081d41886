"""Report progress, and show it as a bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PATIENCE = 2.0  # seconds before a bar appears: shorter work needs none
LOG_EVERY = 30.0  # seconds between lines if there is no terminal
REDRAW_EVERY = 0.1  # seconds
T = TypeVar('T')

# Called with the kind of step, the steps done and their total: ``progress('pairs', 64, 936)``.
Progress = Callable[[str, int, int], None]


def no_progress(what: str, done: int, total: int) -> None:
    """A ``Progress`` that does nothing."""


def track(items: Iterable[T], total: int, what: str, progress: Progress) -> Iterator[T]:
    """Iterate over items and report progress after each."""
    for done, item in enumerate(items, 1):
        yield item
        progress(what, done, total)


@contextmanager
def show_progress(file: TextIO | None = None, patience: float = PATIENCE) -> Iterator[Progress]:
    """Yield a ``Progress`` that shows a bar on a terminal, or occasional lines in a log.

    Args:
        file: Where to write; by default standard error.
        patience: Seconds before the bar appears.
    """
    shown = _Shown(file or sys.stderr, patience)
    try:
        yield shown
    finally:
        shown.finish()


class _Shown:
    """The ``Progress`` of :func:`show_progress`."""

    def __init__(self, file: TextIO, patience: float) -> None:
        self.console = Console(file=file)
        self.patience, self.what = patience, ''
        self.bar: Bar | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self.what:
            self.finish()
            self.what, self.begun, self.told = what, now, now
        if self.console.is_terminal:
            self._draw(done, total, now)
        elif now - self.told >= LOG_EVERY:
            self.told = now
            print(f'{what}: {done:,} of {total:,}', file=self.console.file, flush=True)

    def _draw(self, done: int, total: int, now: float) -> None:
        if self.bar is None and done < total and now - self.begun >= self.patience:
            columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
            self.bar = Bar(
                *columns,
                TimeRemainingColumn(),
                console=self.console,
                auto_refresh=False,
                redirect_stdout=False,  # it may be a file
                redirect_stderr=False,
            )
            self.bar.start()
            self.bar.add_task(self.what, total=total)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done)
            if done >= total or now - self.told >= REDRAW_EVERY:
                self.told = now
                self.bar.refresh()

    def finish(self) -> None:
        """Stop the bar; output continues below it."""
        if self.bar is not None:
            self.bar.stop()
        self.bar, self.what = None, ''
