"""Faults at chosen moments of a process: between any two steps of a write, and inside one.

A step is what a process does to a file below a folder: 'open' for writing, 'fsync', 'synced' (after
fsync), 'rename', 'renamed', 'remove', 'removed', 'mkdir'. 'rename' and 'remove' are noted before,
'renamed' and 'removed' after they happen. Files are named without what differs from run to run.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vil_mm.files import UNFINISHED

VARYING = (
    (re.compile(rf'{re.escape(UNFINISHED)}\d+-\d+-'), UNFINISHED),
    (re.compile(r'\d{8}_\d{6}'), 'TIME'),
)


class Step(NamedTuple):
    """One step of a run: the ``count``-th time that ``what`` happens to ``name``."""

    what: str
    name: str
    count: int

    def __str__(self) -> str:
        return f'{self.what} {self.name} {self.count}'


class Fault(NamedTuple):
    """A kill at a step, before it is done; of 'open' at a byte: when so many have been written."""

    step: Step
    byte: int | None = None


class Injector:
    """Visits the steps in this process below a folder, and kills the process at one of them."""

    def __init__(
        self, folder: Path, fault: Fault | None = None, visit: Callable[[Step], None] | None = None
    ) -> None:
        self.folder = os.path.realpath(folder)
        self.fault, self.visit = fault, visit
        self.counts: Counter[tuple[str, str]] = Counter()
        self._originals: dict[str, Callable] = {}
        self._is_active = False

    def __enter__(self) -> Injector:
        sys.addaudithook(self._audit)
        self._is_active = True
        self._wrap('fsync', 'fsync', 'synced')
        for name in ('rename', 'replace'):
            self._wrap(name, None, 'renamed')
        for name in ('remove', 'unlink'):
            self._wrap(name, None, 'removed')
        return self

    def __exit__(self, *error: object) -> None:
        self._is_active = False  # an audit hook stays for ever
        for name, original in self._originals.items():
            setattr(os, name, original)

    def _audit(self, event: str, args: tuple) -> None:
        if not self._is_active:
            return
        if event == 'open' and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            self.note('open', args[0])
        elif event == 'os.rename':
            self.note('rename', args[1])
        elif event in ('os.remove', 'os.mkdir'):
            self.note(event[3:], args[0])

    def _wrap(self, name: str, before: str | None, after: str) -> None:
        original = self._originals[name] = getattr(os, name)

        def wrapped(*args, **kwargs):
            if before:
                self.note(before, args[0])
            result = original(*args, **kwargs)
            self.note(after, args[-1])
            return result

        setattr(os, name, wrapped)

    def note(self, what: str, file: object) -> None:
        path = self._path(file)
        if path is None or not f'{path}/'.startswith(f'{self.folder}/'):
            return
        name = os.path.relpath(path, self.folder)
        for pattern, word in VARYING:
            name = pattern.sub(word, name)
        self.counts[what, name] += 1
        step = Step(what, name, self.counts[what, name])
        if self.visit:
            self.visit(step)
        if self.fault and step == self.fault.step:
            self._strike(path)

    @staticmethod
    def _path(file: object) -> str | None:
        if isinstance(file, int):
            return os.readlink(f'/proc/self/fd/{file}')
        return os.path.abspath(os.fsdecode(file)) if isinstance(file, str | bytes | Path) else None

    def _strike(self, path: str) -> None:
        if self.fault.byte is None:
            os.kill(os.getpid(), signal.SIGKILL)
        # the system itself ends the process when a file would become larger than this
        there = os.path.getsize(path) if os.path.exists(path) else 0
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (there + self.fault.byte,) * 2)
