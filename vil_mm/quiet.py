"""Suppress messages of other packages that mean nothing to users.

Only the messages listed here are dropped; output of users' own code passes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

# from the OpenMMLab forks, about a commercial data source that vil_mm does not use
IMPORT_PRINTS = ('Could not import OneDL',)
# from mmcv without compiled operators, which `python -m vil_mm` reports; configs that need them are
# rejected
IMPORT_WARNINGS = ('Fail to import ``MultiScaleDeformableAttention``',)
# from mmseg, for every model of two classes; docs/fine_tuning.md compares both ways
BUILD_WARNINGS = ('For binary segmentation, we suggest using',)


def quiet_building() -> None:
    """Suppress ``BUILD_WARNINGS`` from now on."""
    for message in BUILD_WARNINGS:
        warnings.filterwarnings('ignore', message=message, category=UserWarning)


@contextmanager
def quiet_import() -> Iterator[None]:
    """Suppress the messages above while OpenMMLab packages are imported."""
    with warnings.catch_warnings(), without_lines(*IMPORT_PRINTS):
        for message in IMPORT_WARNINGS:
            warnings.filterwarnings('ignore', message=message, category=UserWarning)
        # from Python 3.12 on, about escapes such as '\d' in other packages' sources
        warnings.filterwarnings('ignore', category=SyntaxWarning)
        yield


@contextmanager
def without_lines(*starts: str) -> Iterator[None]:
    """Drop lines of standard output that start with one of these strings."""
    kept = _Sieve(sys.stdout, starts)
    try:
        with redirect_stdout(kept):
            yield
    finally:
        kept.finish()


class _Sieve:
    """A text stream that forwards lines to another, except some."""

    def __init__(self, stream: TextIO, starts: tuple[str, ...]) -> None:
        self._stream, self._starts, self._line = stream, starts, ''

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split('\n')
        for line in lines:
            if not line.startswith(self._starts):
                self._stream.write(f'{line}\n')
        return len(text)

    def finish(self) -> None:
        """Forward an unfinished last line, and from then on everything immediately."""
        self._stream.write(self._line)
        self._line, self.write = '', self._stream.write

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
