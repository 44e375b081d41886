"""Require files, and write files atomically. Imports nothing heavy."""

from __future__ import annotations

import errno
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

UNPACKED = 4  # largest ratio of an archive's unpacked size to its size

UNFINISHED = '.unfinished-'  # first part of the names of temporary files

REASONS = {
    errno.ENOSPC: 'the disk is full',
    errno.EDQUOT: 'the disk quota is used up',
    errno.EFBIG: 'the file would exceed the size limit of the system',
    errno.EROFS: 'the file system is read-only',
    errno.EIO: 'the disk reports an input/output error',
}


class WriteError(OSError):
    """A file cannot be written; the message names it and says why."""

    exit_code = 74  # of tools; EX_IOERR

    def __init__(self, place: str | Path, number: int) -> None:
        super().__init__(f'{place} cannot be written: {REASONS[number]}')
        self.errno = number


@contextmanager
def naming(place: str | Path) -> Iterator[None]:
    """Name a file or folder in errors of the disk, most of which do not.

    Raises:
        WriteError: Instead of an ``OSError`` for one of ``REASONS``.
    """
    try:
        yield
    except OSError as error:  # of an inner one as well, which may name an unfinished file
        if error.errno not in REASONS:
            raise
        raise WriteError(place, error.errno) from error


def require(kind: str, path: str | Path) -> Path:
    """Fail unless a file or folder exists; returns its path.

    Args:
        kind: What it is, for the message: 'checkpoint', 'image', ...
        path: The file or folder.

    Raises:
        FileNotFoundError: It does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'{kind} not found: {path} (looked from {Path.cwd()})')
    return path


@contextmanager
def atomic_write(target: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary file that replaces ``target`` at the end.

    It is in the target's folder, which is created, and has the same suffix, since some writers
    choose the format by it. On an error it is removed and the target stays as it was. A killed
    process leaves it behind; its name begins with ``UNFINISHED``.

    Args:
        target: The file to write.
        durable: Wait until the disk has the content before the file takes its name, and the name
            before returning: neither a crash of the machine nor a kill leaves half a file.

    Raises:
        OSError: The folder or the file cannot be created; ``WriteError`` if the disk is full.
    """
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    writer = f'{os.getpid()}-{threading.get_ident()}'  # two may write the same file
    unfinished = target.with_name(f'{UNFINISHED}{writer}-{target.name}')
    try:
        with naming(target):
            yield unfinished
            if durable:
                _sync(unfinished)
            unfinished.replace(target)
            if durable:
                _sync(target.parent)
    finally:
        with suppress(OSError):  # the folder may be gone, or the disk read-only
            unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until the disk has a file's content, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_archive(file: BinaryIO) -> None:
    """Refuse a zip archive that unpacks to far more than its size; other files pass.

    torch and numpy write their archives without compression. The file's position is 0 afterwards.

    Raises:
        ValueError: The archive declares more, or cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    packed = file.read(2) == b'PK'
    file.seek(0)
    if not packed:
        return
    try:
        with zipfile.ZipFile(file) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ValueError('the archive is damaged') from error
    if declared > UNPACKED * size:
        raise ValueError(f'it declares {declared:,} bytes, but has only {size:,}')
    file.seek(0)
