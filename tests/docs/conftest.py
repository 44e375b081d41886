"""A folder in which what the pages show can run."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import stand_ins
from blocks import Block
from warm import CLIENT

HERE = Path(__file__).parent
TRY_CONFIG = HERE / 'try_config.py'


class Workshop:
    """A folder with data, weights and runs, from which each page gets one of its own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs

    def shell(self, script: str, folder: Path) -> str:
        """Run a shell script; its output. A command that fails fails the test."""
        env = os.environ | {'PATH': f'{self.programs}:{os.environ["PATH"]}', 'LOCAL_RANK': '0'}
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', script],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        tail = '\n'.join(done.stdout.splitlines()[-40:])
        assert done.returncode == 0, f'exit status {done.returncode} of\n{script}\n{tail}'
        return done.stdout

    def run_of(self, config: str) -> Path:
        """The work dir of a training with a config, which is done when it is first asked for."""
        work_dir = self.folder / 'work_dirs' / config
        with only_one(self.folder / 'training.lock'):
            if not (work_dir / 'iter_2.pth').is_file():
                self.shell(f'python tools/train.py {config}', self.folder)
        return work_dir

    def checkpoint_of(self, config: str) -> str:
        if not config.endswith('_eval'):
            return str(self.run_of(config) / 'iter_2.pth')
        return str(self.folder / stand_ins.CONVERTED)


class Desk:
    """A page's own folder, in which its blocks run in order."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self.workshop, self.folder = workshop, folder
        for path in workshop.folder.iterdir():
            if path.name == 'configs':
                shutil.copytree(path, folder / 'configs')  # the pages add some
            elif path.name in ('data', 'checkpoints'):
                (folder / path.name).mkdir()
                for part in path.iterdir():
                    self._put(part, folder / path.name / part.name)
            elif path.name not in ('work_dirs', 'training.lock'):
                (folder / path.name).symlink_to(path)

    @staticmethod
    def _put(source: Path, target: Path) -> None:
        """A copy of what the pages change, a link to all else."""
        if source.name in ('drawn', 'camvid'):
            shutil.copytree(source, target)
        elif source.suffix != '.pth' or source.name == Path(stand_ins.CONVERTED).name:
            target.symlink_to(source)

    def run(self, block: Block) -> str:
        """Run a shell block or read a config block; what it printed."""
        code = stand_ins.in_words_of(block.code, self.workshop.checkpoint_of)
        self._take_for_granted(code)
        if block.is_config:
            file = self._path_of(block, code)
            file.write_text(code)
            code = f'python {TRY_CONFIG} {file}'
        return self.workshop.shell(code, self.folder)

    def _path_of(self, block: Block, code: str) -> Path:
        """Where a config lies: as its first line says, or beside the one that it inherits from."""
        named = re.match(r'# ([\w/]+\.py)', code)
        base = re.search(r"^_base_ = '(.+)'", code, re.MULTILINE)
        beside = '' if base and (self.folder / base[1]).exists() else 'configs/'
        return self.folder / (named[1] if named else f'{beside}line_{block.line}.py')

    def _take_for_granted(self, code: str) -> None:
        """Checkpoints that a block names, and that no block of the page makes."""
        for name in re.findall(r'work_dirs/(\w+)/\w+\.pth', code):
            made = self.folder / 'work_dirs' / name
            if not made.exists() and not re.search(rf'train\.py configs/[\w/]*{name}\.py', code):
                shutil.copytree(self.workshop.run_of(name), made)
        for name in re.findall(r'(?<!\.th )checkpoints/\w+\.pth', code):
            if not (self.folder / name).exists() and f'.th {name}' not in code:
                (self.folder / name).symlink_to(self.workshop.folder / name)

    def run_python(self, blocks: list[Block]) -> str:
        """Run the Python blocks of a page as one program, whose lines are those of the page."""
        lines = [f'exec({stand_ins.NAMES!r})']
        for block in blocks:
            code = stand_ins.in_words_of(block.code, self.workshop.checkpoint_of)
            lines += [''] * (block.line - 1 - len(lines)) + code.splitlines()
        if any('val.txt' in line for line in lines):
            stand_ins.unsorted_imagenet(self.folder)
        file = self.folder / Path(blocks[0].page).with_suffix('.py').name
        file.write_text('\n'.join(lines))
        return self.workshop.shell(f'python {file}', self.folder)


@pytest.fixture(scope='session')
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Made once a test session, by the first of its processes that asks."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'pages'
    folder.mkdir(exist_ok=True)
    with only_one(folder / 'lock'):
        if not (folder / 'lifeline').exists():
            stand_ins.furnish(folder / 'work')
            _write_programs(folder)
            os.mkfifo(folder / 'lifeline')
        lifeline = os.open(folder / 'lifeline', os.O_RDWR)
        if not _answers(folder / 'socket'):
            _start_warm(folder)
    yield Workshop(folder / 'work', folder / 'bin')
    os.close(lifeline)  # the last process to do so ends the warm Python


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Other processes wait here until this one is done."""
    with path.open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_programs(folder: Path) -> None:
    (folder / 'bin').mkdir()
    for name in ('python', 'torchrun'):
        program = folder / 'bin' / name
        program.write_text(CLIENT.format(python=sys.executable, path=str(folder / 'socket')))
        program.chmod(0o755)


def _start_warm(folder: Path) -> None:
    (folder / 'socket').unlink(missing_ok=True)
    env = os.environ | {'PYTHONPATH': f'{HERE}:{HERE.parent}:{os.environ.get("PYTHONPATH", "")}'}
    command = [sys.executable, str(HERE / 'warm.py'), str(folder / 'socket')]
    with (folder / 'lifeline').open() as lifeline, (folder / 'warm.log').open('w') as log:
        warm = subprocess.Popen(command, stdin=lifeline, stdout=log, stderr=log, env=env)
    while not _answers(folder / 'socket'):
        assert warm.poll() is None, (folder / 'warm.log').read_text()
        time.sleep(0.2)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        return not line.connect_ex(str(path))


@pytest.fixture
def desk(workshop: Workshop, tmp_path: Path) -> Desk:
    return Desk(workshop, tmp_path)
