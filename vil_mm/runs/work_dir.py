"""One run per work dir: a lock that ends with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.config import Config

from vil_mm.files import UNFINISHED, naming
from vil_mm.runs.host import AGAIN, HostError
from vil_mm.runs.screen import is_first_process

LOCK = '.lock'  # a file in the work dir: host and process
_TAKEN = (errno.EACCES, errno.EAGAIN)
_held: dict[str, int] = {}  # locks of this process, with their descriptors


class WorkDirInUseError(ValueError):
    """Another run writes to the work dir."""


def refuse_work_dir_in_use(cfg: Config) -> None:
    """Fail early if another run holds the work dir, and delete what a killed one left there.

    Only the first process looks.

    Raises:
        WorkDirInUseError: Names its host and process.
    """
    path = Path(cfg.work_dir, LOCK)
    if is_first_process(cfg) and path.is_file() and os.access(path, os.W_OK):
        with hold_work_dir(cfg):
            pass  # the lock was left by a killed run; now it is gone


@contextmanager
def hold_work_dir(cfg: Config) -> Iterator[None]:
    """Lock the work dir for a run; the first of several processes does it for all.

    The system releases the lock when the process ends, however it ends, also for other hosts on a
    shared disk. On disks without locks, the file is stale if its process has gone from this host.
    What killed runs left unfinished is deleted.

    Raises:
        WorkDirInUseError: Another run holds the lock; names its host and process.
        OSError: The folder cannot be created or written to.
    """
    if not is_first_process(cfg):
        yield
        return
    path = Path(os.path.abspath(Path(cfg.work_dir, LOCK)))
    with naming(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _held[str(path)] = _lock(path)
    try:
        with naming(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f'{socket.gethostname()} {os.getpid()}\n'.encode(), 0)
        for name in ('*.pth', '*last_checkpoint'):
            for unfinished in path.parent.glob(f'{UNFINISHED}{name}'):
                unfinished.unlink(missing_ok=True)
        yield
    finally:
        with suppress(OSError):  # the disk may be read-only by now
            if _is_same(path, descriptor):
                path.unlink()  # before the lock is released: nobody else has it yet
        os.close(_held.pop(str(path)))


def refuse_lost_work_dir(work_dir: str) -> None:
    """Fail before a checkpoint is written where it does not belong any more.

    Raises:
        HostError: The work dir, which this process has locked, was deleted, or deleted and locked
            by another run.
    """
    path = Path(os.path.abspath(Path(work_dir, LOCK)))
    if str(path) not in _held:
        return
    if not path.parent.is_dir():
        raise HostError(f'{work_dir} was deleted during the run: {AGAIN}')
    if path.exists() and not _is_same(path, _held[str(path)]):
        raise HostError(f'{work_dir} was deleted during the run, and another run uses it now')


def _lock(path: Path) -> int:
    """Open and lock a file.

    It is a lock of the process (POSIX), which forked data loaders do not inherit: they may outlive
    a killed run by seconds.
    """
    while True:
        with naming(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 1000).decode(errors='replace').split()
            if error.errno in _TAKEN or _is_alive(owner):
                os.close(descriptor)
                raise WorkDirInUseError(_describe(path, owner)) from error
        if _is_same(path, descriptor):
            return descriptor
        os.close(descriptor)  # the other run ended in between and deleted the file


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_alive(owner: list[str]) -> bool:
    """Whether the process of a lock may still run, where the disk has no locks."""
    if len(owner) != 2 or not owner[1].isdecimal():
        return False
    return owner[0] != socket.gethostname() or _has_process(int(owner[1]))


def _has_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _describe(path: Path, owner: list[str]) -> str:
    who = f' (host {owner[0]}, process {owner[1]})' if len(owner) == 2 else ''
    return (
        f'{path.parent} is in use by another run{who}: wait until it ends, or choose another work '
        f'dir; if it is gone, delete {path}'
    )
