"""tools/demo.sh: a second run leaves alone what is done, a killed one goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORK = Path('work_dirs', 'upernet_vil_t_drawn')
# instead of Python: notes the command and leaves what the tool would
STUB = """#!/usr/bin/env bash
echo "$(basename "$1")" >>calls
echo "output of $*"
case "$1" in
*train.py) [ ! -e kill ] || { rm kill; exit 1; }; touch "$work/best_mIoU_iter_2.pth" ;;
esac
"""


def demo_in(folder: Path, python: str) -> Path:
    """The demo's script in a folder of its own, where .venv/bin/python is a given script."""
    (folder / 'tools').mkdir()
    shutil.copy(ROOT / 'tools' / 'demo.sh', folder / 'tools')
    interpreter = folder / '.venv' / 'bin' / 'python'
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(python)
    interpreter.chmod(0o755)
    return folder


def run_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ['bash', str(folder / 'tools' / 'demo.sh')]
    environment = os.environ | {'work': str(WORK), 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_second_run_only_reports(tmp_path):
    demo = demo_in(tmp_path, STUB)
    first = run_demo(demo)
    assert first.returncode == 0, first.stderr
    steps = ['draw_dataset.py', 'train.py', 'test.py', 'analyze_logs.py', 'report.py']
    assert (demo / 'calls').read_text().split() == steps
    logs = {log: log.read_text() for log in (demo / WORK).glob('*.log')}
    assert {log.stem for log in logs} == {'draw', 'train', 'test', 'curves'}

    second = run_demo(demo)
    assert second.returncode == 0, second.stderr
    assert (demo / 'calls').read_text().split() == [*steps, 'report.py']
    assert {log: log.read_text() for log in (demo / WORK).glob('*.log')} == logs
    assert 'output of tools/report.py' in second.stdout, 'where everything is'
    assert f'= train: done before, see {WORK}/train.log' in second.stdout


def test_killed_demo_goes_on(tmp_path):
    demo = demo_in(tmp_path, STUB)
    (demo / 'kill').touch()
    killed = run_demo(demo)
    assert killed.returncode == 1 and 'train.log' in killed.stderr
    assert run_demo(demo).returncode == 0
    called = (demo / 'calls').read_text().split()
    assert called.count('train.py') == 2 and called.count('draw_dataset.py') == 1
    assert (demo / WORK / 'train.log').read_text().count('output of tools/train.py') == 2


@pytest.mark.slow
def test_the_real_steps(tmp_path, write_tiny_config):
    """On a tiny config instead of the demo's."""
    demo = demo_in(tmp_path, f'#!/usr/bin/env bash\nexec {sys.executable} "$@"\n')
    for tool in (ROOT / 'tools').glob('*.py'):
        shutil.copy(tool, demo / 'tools')
    (demo / 'tools' / 'draw_dataset.py').write_text('')
    tiny = write_tiny_config(demo)
    (demo / 'configs').mkdir()
    text = tiny.read_text().replace(str(demo / 'work'), str(WORK))
    (demo / 'configs' / 'upernet_vil_t_drawn.py').write_text(text)

    first = run_demo(demo)
    assert first.returncode == 0, first.stdout + first.stderr
    assert 'Iter(train) [4/4]' in first.stdout and first.stdout.count('\n') < 25
    before = {path: path.stat().st_mtime_ns for path in (demo / WORK).rglob('*')}
    second = run_demo(demo)
    assert second.returncode == 0, second.stdout + second.stderr
    assert {path: path.stat().st_mtime_ns for path in (demo / WORK).rglob('*')} == before
    assert second.stdout.splitlines()[4:] == first.stdout.splitlines()[-5:], 'where all is'
    assert 'mIoU ' in second.stdout and not second.stderr
