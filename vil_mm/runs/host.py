"""What a machine does to a run: a full disk, a folder that is gone, a worker that is killed."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from mmengine.dist import is_distributed

from vil_mm.errors import first_line
from vil_mm.files import REASONS, WriteError

_KILLED_WORKER = re.compile(r'DataLoader worker \(pid')
_LOST_PEER = re.compile(
    r'[Cc]onnection (closed|reset) by peer|[Ss]ocket closed|remote process exit'
)


AGAIN = 'start again, or resume what is left'


class HostError(RuntimeError):
    """The machine ended the run, not its config or data; the message is one line."""

    exit_code = WriteError.exit_code


@contextmanager
def explain_host_errors(*folders: str | Path) -> Iterator[None]:
    """Turn errors that the machine causes into a line that says what to do.

    Args:
        folders: Where the run writes; the first is its work dir.

    Raises:
        HostError: The disk is full or read-only, the work dir was deleted, or a process that loads
            data or another process of the training was killed.
    """
    try:
        yield
    except OSError as error:
        if error.errno in REASONS:
            raise HostError(_describe(error, folders)) from error
        if gone := _find_deleted(error, folders[0]):
            raise HostError(f'{gone} was deleted during the run: {AGAIN}') from error
        raise
    except RuntimeError as error:
        if is_distributed() and _LOST_PEER.search(str(error)):
            raise HostError(
                'another process of this training has ended, its own output says why; '
                f'continue the run ({first_line(error)})'
            ) from error
        if not _KILLED_WORKER.match(str(error)):
            raise
        raise HostError(
            f'{first_line(error).rstrip(". ")}: often for lack of memory; use fewer num_workers or '
            'a smaller batch, and continue the run'
        ) from error


def _find_deleted(error: OSError, work_dir: str | Path) -> str | None:
    """The work dir, or the folder in it that a file was to be in, if it is gone."""
    root = Path(os.path.abspath(work_dir))
    if not root.is_dir():
        return str(work_dir)
    name = error.filename
    file = Path(os.path.abspath(os.fsdecode(name if isinstance(name, str | bytes) else root)))
    gone = [x for x in reversed(file.parents) if x.is_relative_to(root) and not x.is_dir()]
    return str(gone[0]) if gone else None


def _describe(error: OSError, folders: tuple[str | Path, ...]) -> str:
    if not isinstance(error, WriteError):
        error = WriteError(error.filename or f'a file in {_fullest(folders)}', error.errno)
    return f'{error}; fix that and repeat the command'


def _fullest(folders: tuple[str | Path, ...]) -> str | Path:
    existing = [folder for folder in folders if Path(folder).is_dir()]
    return min(existing, key=lambda x: shutil.disk_usage(x).free, default=folders[0])


def stop_without_log(logger: logging.Logger) -> None:
    """Let a log file that cannot be written end the run.

    Otherwise logging prints a traceback for each line that is lost.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = _Stopper(handler.baseFilename)


class _Stopper:
    """Called in the handling of an error."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __call__(self, record: logging.LogRecord) -> NoReturn:
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in REASONS:
            raise WriteError(self.file, error.errno) from error
        raise
