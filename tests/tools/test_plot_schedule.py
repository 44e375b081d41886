"""The command that draws a schedule."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

import vil_mm

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'plot_schedule.py'


@pytest.fixture
def run(monkeypatch, tmp_path):
    def call(*args: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [TOOL.name, *args])
        runpy.run_path(str(TOOL), run_name='__main__')

    return call


def test_prints_the_difference_and_writes_a_picture(run, tmp_path, capsys):
    run(str(vil_mm.CONFIG_DIR / 'upernet_vil_t_drawn.py'))
    printed = capsys.readouterr().out
    assert float(re.search(r'formula ([\d.e-]+)', printed)[1]) < 1e-12
    assert (tmp_path / 'upernet_vil_t_drawn_schedule.png').stat().st_size > 10_000


@pytest.mark.parametrize('text', [None, 'model = dict()\n'], ids=['no file', 'no schedule'])
def test_wrong_config_is_one_clear_line(run, tmp_path, capsys, text):
    if text:
        (tmp_path / 'config.py').write_text(text)
    with pytest.raises(SystemExit) as exit_:
        run('config.py', '--out', 'out.png')
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('plot_schedule.py: ') and 'config.py' in line
    assert not (tmp_path / 'out.png').exists()
