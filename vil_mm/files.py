"""Files that are there, and files that appear whole or not at all. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def require(kind: str, path: str | Path) -> Path:
    """The path of a file or folder that is there.

    Args:
        kind: What it is to the user: 'checkpoint', 'image', ...
        path: From the current folder.

    Raises:
        FileNotFoundError: It is not.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'{kind} not found: {path} (looked from {Path.cwd()})')
    return path


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """A file to write instead of ``target``, which takes its place at the end if nothing fails.

    It lies beside the target, whose folder is made, and has the target's ending, by which some
    writers choose a format. If something fails it is removed, and what was there stays.

    Raises:
        OSError: The folder or the file cannot be made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f'.unfinished-{os.getpid()}-{target.name}')
    try:
        yield unfinished
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
