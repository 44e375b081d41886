"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vil_mm.files import UNFINISHED, WriteError, atomic_write


def test_a_file_takes_its_name_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / 'new' / 'a.png'
    with atomic_write(target) as unfinished:
        assert unfinished.suffix == '.png' and unfinished.parent == target.parent
        unfinished.write_text('a picture')
        assert not target.exists()
    assert target.read_text() == 'a picture'
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize('error', [OSError('full'), KeyboardInterrupt()])
def test_what_was_there_stays_if_writing_fails(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / 'a.png'
    target.write_text('an older one')
    with pytest.raises(type(error)), atomic_write(target) as unfinished:
        unfinished.write_text('half')
        raise error
    assert target.read_text() == 'an older one'
    assert list(tmp_path.iterdir()) == [target]


def test_threads_may_write_the_same_file(tmp_path) -> None:
    ready = threading.Barrier(2)

    def write(text: str) -> None:
        with atomic_write(tmp_path / 'x.txt') as unfinished:
            unfinished.write_text(text)
            ready.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ['one', 'two']))
    assert (tmp_path / 'x.txt').read_text() in ('one', 'two')
    assert [path.name for path in tmp_path.iterdir()] == ['x.txt']


def test_a_full_disk_is_named_with_the_target(tmp_path: Path) -> None:
    """By the outermost name: a writer of its own may write to another unfinished file."""
    with (
        pytest.raises(WriteError, match=r'a\.png cannot be written: the disk is full') as error,
        atomic_write(tmp_path / 'a.png') as unfinished,
        atomic_write(unfinished) as inner,
    ):
        inner.write_text('half')
        raise OSError(errno.ENOSPC, 'No space left on device')
    assert UNFINISHED not in str(error.value) and error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
