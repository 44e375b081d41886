"""Keeps off the screen what other packages say there and what means nothing to a user.

Only the texts listed are dropped: what users' own code prints or warns about passes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

# of the OpenMMLab forks: a commercial data source that no part of vil_mm uses
IMPORT_PRINTS = ('Could not import OneDL',)
# of mmcv: true for every build without compiled operators. `python -m vil_mm` says so, and a
# config that needs them is refused
IMPORT_WARNINGS = ('Fail to import ``MultiScaleDeformableAttention``',)
# of mmseg, about every model of two classes: both ways work, docs/fine_tuning.md compares them
BUILD_WARNINGS = ('For binary segmentation, we suggest using',)


def quiet_building() -> None:
    """Drop, from now on, the warnings above about models that are built."""
    for message in BUILD_WARNINGS:
        warnings.filterwarnings('ignore', message=message, category=UserWarning)


@contextmanager
def quiet_import() -> Iterator[None]:
    """Import OpenMMLab packages without the remarks above."""
    with warnings.catch_warnings(), without_lines(*IMPORT_PRINTS):
        for message in IMPORT_WARNINGS:
            warnings.filterwarnings('ignore', message=message, category=UserWarning)
        # Python 3.12 and newer, of escapes such as '\d' in other packages' sources
        warnings.filterwarnings('ignore', category=SyntaxWarning)
        yield


@contextmanager
def without_lines(*starts: str) -> Iterator[None]:
    """Drop the lines of standard output that begin with one of these texts."""
    kept = _Sieve(sys.stdout, starts)
    try:
        with redirect_stdout(kept):
            yield
    finally:
        kept.finish()


class _Sieve:
    """A text stream that passes whole lines on to another, some left out."""

    def __init__(self, stream: TextIO, starts: tuple[str, ...]) -> None:
        self._stream, self._starts, self._line = stream, starts, ''

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split('\n')
        for line in lines:
            if not line.startswith(self._starts):
                self._stream.write(f'{line}\n')
        return len(text)

    def finish(self) -> None:
        """Pass on a last line that has no end, and from then on everything at once."""
        self._stream.write(self._line)
        self._line, self.write = '', self._stream.write

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
