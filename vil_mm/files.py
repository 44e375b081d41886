"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
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
