"""The lock of a work dir, where the disk has no locks of its own."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from vil_mm.runs.work_dir import WorkDirInUseError, hold_work_dir, refuse_work_dir_in_use


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    return process.pid


def test_lock_is_there_during_the_run(tmp_path: Path) -> None:
    cfg = Config({'work_dir': str(tmp_path / 'work')})
    refuse_work_dir_in_use(cfg)
    assert not (tmp_path / 'work').exists()
    with pytest.raises(RuntimeError), hold_work_dir(cfg):
        owner = (tmp_path / 'work' / '.lock').read_text().split()
        assert owner == [socket.gethostname(), str(os.getpid())]
        raise RuntimeError
    assert not list((tmp_path / 'work').iterdir())


@pytest.mark.parametrize(
    ('owner', 'is_stale'),
    [
        (lambda: f'{socket.gethostname()} {gone()}', True),
        (lambda: f'{socket.gethostname()} {os.getppid()}', False),
        (lambda: 'elsewhere 1', False),
        (lambda: '', True),
        (lambda: 'half of', True),
    ],
    ids=['gone', 'alive', 'elsewhere', 'empty', 'half'],
)
def test_disk_without_locks(tmp_path: Path, monkeypatch, owner, is_stale: bool) -> None:
    def lockf(*args: object) -> None:
        raise OSError(errno.ENOLCK, 'no locks')

    monkeypatch.setattr('fcntl.lockf', lockf)
    cfg = Config({'work_dir': str(tmp_path)})
    (tmp_path / '.lock').write_text(owner())
    (tmp_path / '.unfinished-1-2-iter_4.pth').write_text('half')
    if is_stale:
        refuse_work_dir_in_use(cfg)
        assert not list(tmp_path.iterdir())
        with hold_work_dir(cfg):
            assert (tmp_path / '.lock').is_file()
    else:
        with pytest.raises(WorkDirInUseError, match=r'in use by another run.*delete'):
            refuse_work_dir_in_use(cfg)


def test_other_processes_of_a_run_leave_it_to_the_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv('RANK', '1')
    with hold_work_dir(Config({'work_dir': str(tmp_path), 'launcher': 'pytorch'})):
        assert not list(tmp_path.iterdir())
