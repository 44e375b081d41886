"""What people see of work that takes long."""

from __future__ import annotations

import io

import pytest

from vil_mm import progress as module
from vil_mm.progress import show_progress, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a known kind, whatever the tests run in."""
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.delenv('FORCE_COLOR', raising=False)
    monkeypatch.delenv('TTY_COMPATIBLE', raising=False)


def test_bar_on_a_terminal() -> None:
    file = Terminal()
    with show_progress(file, patience=0) as progress:
        for done in (32, 64, 100):
            progress('files', done, 100)
    assert 'files' in file.getvalue() and '100/100' in file.getvalue()
    assert file.getvalue().rstrip('\x1b[?25h').endswith('\n')


def test_a_bar_ends_where_the_work_fails() -> None:
    file = Terminal()
    with pytest.raises(ValueError, match='wrong'), show_progress(file, patience=0) as progress:
        progress('files', 1, 100)
        raise ValueError('wrong')
    assert file.getvalue().count('\x1b[?25l') == file.getvalue().count('\x1b[?25h') == 1, 'cursor'


def test_short_work_shows_nothing() -> None:
    for file in (Terminal(), io.StringIO()):
        with show_progress(file) as progress:
            progress('files', 50, 100)
            progress('files', 100, 100)
        assert file.getvalue() == ''


def test_lines_in_a_log(monkeypatch) -> None:
    monkeypatch.setattr(module, 'LOG_EVERY', 0)
    file = io.StringIO()
    with show_progress(file) as progress:
        progress('files', 32, 1000)
        progress('files', 1000, 1000)
    assert file.getvalue().splitlines() == ['files: 32 of 1,000', 'files: 1,000 of 1,000']


def test_track_reports_what_is_done_with() -> None:
    steps = []
    for item in track('abc', 3, 'letters', lambda *step: steps.append(step)):
        steps.append(item)
    assert steps == ['a', ('letters', 1, 3), 'b', ('letters', 2, 3), 'c', ('letters', 3, 3)]
