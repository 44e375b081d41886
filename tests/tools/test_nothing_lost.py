"""Kills at the worst moments: what is on the disk then, and what --resume makes of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'train.py'
# Kills the process in the middle of writing a file: after half of its bytes are on the disk.
KILLED = """
_base_ = './tiny.py'
custom_imports = dict(imports=['vil_mm', 'killing'])
"""
KILLING = """
import os, pathlib, signal
write = pathlib.Path.write_bytes
text = pathlib.Path.write_text
name, count = os.environ['KILL'].split(':')
seen = []

def die(self, data, write):
    if self.name.endswith(name):
        seen.append(self.name)
        if len(seen) == int(count):
            write(self, data[:len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
    return write(self, data)

pathlib.Path.write_bytes = lambda self, data: die(self, data, write)
pathlib.Path.write_text = lambda self, data, *args, **kw: die(self, data, text)
"""


def start(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join((str(ROOT), str(folder)))
    env = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': path} | environment
    command = [sys.executable, str(TOOL), *args]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False, map_location='cpu')['state_dict']


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def copied(trained, tmp_path: Path) -> Path:
    """A copy of a finished run's work dir, which ``--work-dir`` can name."""
    return Path(shutil.copytree(trained.work_dir, tmp_path / 'copy'))


def test_pointer_is_a_name(trained):
    assert (trained.work_dir / 'last_checkpoint').read_text() == 'iter_4.pth'


@pytest.mark.slow
@pytest.mark.parametrize('moment', ['iter_2.pth:3', 'iter_4.pth:1', 'last_checkpoint:3'])
def test_kill_inside_a_write(tmp_path, trained, write_tiny_config, moment):
    """iter_2.pth is written three times: again as the best one, and with the score in it."""
    write_tiny_config(tmp_path)
    (tmp_path / 'killed.py').write_text(KILLED)
    (tmp_path / 'killing.py').write_text(KILLING)
    done = start(tmp_path, 'killed.py', KILL=moment)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == 'iter_2.pth'
    done = start(tmp_path, 'tiny.py', '--resume')
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'resumed epoch: 0, iter: 2' in done.stdout + done.stderr
    assert same(tmp_path / 'work' / 'iter_4.pth', trained.checkpoint)


def resume(run_here: Callable[..., None], trained, work_dir: Path) -> None:
    run_here('train.py', trained.config, '--resume', '--no-validate', '--work-dir', work_dir)


@pytest.mark.parametrize('pointer', ['', ' \n', None, 'iter_9.pth', '\0\0\0'])
def test_without_a_pointer_the_newest_readable_file_is_taken(
    trained, copied, run_here, capfd, pointer
):
    (copied / 'iter_10.pth').write_bytes((copied / 'iter_4.pth').read_bytes()[:5000])
    (copied / 'iter_4.pth').rename(copied / 'iter_3.pth')
    (copied / 'last_checkpoint').unlink()
    if pointer is not None:
        (copied / 'last_checkpoint').write_text(pointer)
    resume(run_here, trained, copied)  # its content is the end of the run
    out, _ = capfd.readouterr()
    assert f'training is finished (4 of 4): {copied}/iter_3.pth' in out


def test_damaged_file_of_the_pointer(trained, copied, run_here, capfd):
    whole = copied / 'iter_4.pth'
    whole.write_bytes(whole.read_bytes()[:5000])
    resume(run_here, trained, copied)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith('warning')]
    assert said == [
        f'warning: {copied}/last_checkpoint names iter_4.pth, which is missing or damaged: '
        f'resuming from {copied}/iter_2.pth, the newest that can be read'
    ]
    assert same(whole, trained.checkpoint)


def test_nothing_readable_is_refused(trained, copied, run_here, capfd):
    for path in copied.glob('*.pth'):
        path.write_bytes(path.read_bytes()[:5000])
    files = sorted(copied.rglob('*'))
    with pytest.raises(SystemExit) as stop:
        resume(run_here, trained, copied)
    err = capfd.readouterr().err
    assert stop.value.code == 2 and len(err.splitlines()) == 1
    assert f'{copied} has checkpoints, but none can be read' in err
    assert sorted(copied.rglob('*')) == files


def test_new_run_does_not_overwrite_an_earlier_one(trained, copied, run_here, capfd):
    files = sorted(copied.rglob('*'))
    with pytest.raises(SystemExit) as stop:
        run_here('train.py', trained.config, '--work-dir', copied)
    err = capfd.readouterr().err
    assert stop.value.code == 2 and len(err.splitlines()) == 1
    assert f'without --resume: {copied} has checkpoints of an earlier run' in err
    assert sorted(copied.rglob('*')) == files


def test_copied_work_dir_resumes_from_its_own_files(trained, copied, run_here, capfd):
    """Also one of mmengine's own, whose pointer and best checkpoint have absolute paths."""
    (copied / 'last_checkpoint').write_text(str(trained.checkpoint))
    before = {path: path.stat().st_mtime_ns for path in trained.work_dir.rglob('*')}
    options = ['--cfg-options', 'train_cfg.max_iters=6']
    run_here('train.py', trained.config, '--resume', '--work-dir', copied, *options)
    out = ''.join(capfd.readouterr())
    assert f'Load checkpoint from {copied}/iter_4.pth' in out
    assert (copied / 'last_checkpoint').read_text() == 'iter_6.pth'
    assert len(list(copied.glob('iter_*.pth'))) == 2, 'max_keep_ckpts'
    assert len(list(copied.glob('best_*.pth'))) == 1
    assert {path: path.stat().st_mtime_ns for path in trained.work_dir.rglob('*')} == before


STALLED = """
import os, pathlib, time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class StallHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3 and 'STALL' in os.environ:
            rank = os.environ.get('RANK', '0')
            pathlib.Path(f'pid{rank}').write_text(str(os.getpid()))
            while not pathlib.Path('go_on').exists():
                time.sleep(0.05)
"""


def start_stalled(folder: Path, write_tiny_config, *args: str, count: int = 1) -> subprocess.Popen:
    """A run that waits in its fourth iteration until there is a file ``go_on``."""
    write_tiny_config(folder)
    text = KILLED.replace('killing', 'stalling')
    (folder / 'run.py').write_text(
        text + "custom_hooks = _base_.custom_hooks + [dict(type='StallHook')]\n"
        'train_dataloader = dict(num_workers=1)\n'
        'train_cfg = dict(max_iters=6)\n'
        'default_hooks = dict(checkpoint=dict(interval=3))\n'
    )
    (folder / 'stalling.py').write_text(STALLED)
    path = os.pathsep.join((str(ROOT), str(folder)))
    env = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': path, 'STALL': '1'}
    env['PYTHON'] = sys.executable
    command = [sys.executable, str(TOOL), 'run.py', '--no-validate', *args]
    if count > 1:
        command = [str(ROOT / 'tools' / 'dist_train.sh'), 'run.py', str(count), '--no-validate']
        command += ['--cfg-options', 'env_cfg.dist_cfg.backend=gloo']
    with (folder / 'log').open('w') as log:
        job = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + 200
    pids = [folder / f'pid{rank}' for rank in range(count)]
    while not all(pid.exists() and pid.read_text() for pid in pids):
        assert job.poll() is None and time.monotonic() < deadline, (folder / 'log').read_text()
        time.sleep(0.1)
    return job


def test_second_run_in_a_work_dir_is_refused(tmp_path, write_tiny_config, run_here, capfd):
    job = start_stalled(tmp_path, write_tiny_config)
    lock = tmp_path / 'work' / '.lock'
    try:
        assert lock.read_text() == f'{socket.gethostname()} {job.pid}\n'
        for options in ([], ['--resume']):
            with pytest.raises(SystemExit) as stop:
                run_here('train.py', tmp_path / 'tiny.py', *options)
            err = capfd.readouterr().err
            assert stop.value.code == 2 and len(err.splitlines()) == 1
            assert f'in use by another run (host {socket.gethostname()}, process {job.pid})' in err
    finally:
        os.kill(job.pid, signal.SIGKILL)  # its data loader lives on for seconds
        job.wait()
    assert lock.exists(), 'stale'
    (tmp_path / 'work' / '.unfinished-1-iter_9.pth').write_text('half')
    options = ['--resume', '--no-validate', '--cfg-options', 'train_cfg.max_iters=5']
    run_here('train.py', tmp_path / 'tiny.py', *options)
    assert (tmp_path / 'work' / 'iter_5.pth').is_file()
    assert not lock.exists() and not list((tmp_path / 'work').glob('.unfinished*'))


@pytest.fixture(scope='module')
def whole(tmp_path_factory, write_tiny_config) -> Path:
    """The last checkpoint of a run that no signal stopped."""
    folder = tmp_path_factory.mktemp('whole')
    (folder / 'go_on').touch()
    job = start_stalled(folder, write_tiny_config)
    assert job.wait(timeout=200) == 0, (folder / 'log').read_text()
    return folder / 'work' / 'iter_6.pth'


def let_go(folder: Path, job: subprocess.Popen) -> list[str]:
    """Wait for the end of a run that got a signal; returns what it printed, without blank lines."""
    (folder / 'go_on').touch()
    job.wait(timeout=120)
    lines = (folder / 'log').read_text().splitlines()
    assert not [line for line in lines if 'Traceback' in line], '\n'.join(lines)
    return [line for line in lines if line]


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'status'), [('SIGTERM', 75), ('SIGUSR1', 75), ('SIGINT', 130)])
def test_signal_saves_and_ends_the_run(tmp_path, write_tiny_config, whole, number, status):
    """The signal goes to the workers of the data loader as well, as a terminal's does."""
    job = start_stalled(tmp_path, write_tiny_config)
    os.killpg(job.pid, getattr(signal, number))
    time.sleep(1)
    assert job.poll() is None, 'it finishes its iteration'
    lines = let_go(tmp_path, job)
    assert job.returncode == status, lines[-20:]
    stopped = f'train.py: stopped by {number} at iteration 4: {tmp_path}/work/iter_4.pth is saved'
    assert lines[-1].startswith(stopped)
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == 'iter_4.pth'
    assert not (tmp_path / 'work' / '.lock').exists()
    done = start(tmp_path, 'run.py', '--no-validate', '--resume')
    assert done.returncode == 0, done.stderr[-3000:]
    assert same(tmp_path / 'work' / 'iter_6.pth', whole)


@pytest.mark.slow
def test_second_interrupt_stops_at_once(tmp_path, write_tiny_config):
    job = start_stalled(tmp_path, write_tiny_config)
    os.killpg(job.pid, signal.SIGINT)
    time.sleep(1)
    assert job.poll() is None
    os.killpg(job.pid, signal.SIGINT)
    assert job.wait(timeout=30) == 130
    assert 'Traceback' not in (tmp_path / 'log').read_text()
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == 'iter_3.pth'


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'status'), [('SIGTERM', 75), ('SIGUSR1', 75), ('SIGINT', 130)])
def test_two_processes_stop_together(tmp_path, write_tiny_config, number, status):
    """The launcher gets the signal and passes it on; one status comes back."""
    job = start_stalled(tmp_path, write_tiny_config, count=2)
    job.send_signal(getattr(signal, number))
    time.sleep(1)
    lines = let_go(tmp_path, job)
    assert job.returncode == status, lines[-20:]
    assert sum(f'stopped by {number} at iteration 4' in line for line in lines) == 1
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == 'iter_4.pth'


@pytest.mark.slow
def test_signal_to_one_of_two_processes(tmp_path, write_tiny_config):
    job = start_stalled(tmp_path, write_tiny_config, count=2)
    os.kill(int((tmp_path / 'pid1').read_text()), signal.SIGUSR1)
    lines = let_go(tmp_path, job)
    assert job.returncode == 75, lines[-20:]
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == 'iter_4.pth'


SIGNALLED = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module(force=True)
class SignalHook(Hook):
    def __init__(self, moment, iteration):
        self.moment, self.iteration = moment, iteration

    def _signal(self, runner, moment):
        if moment == self.moment and runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._signal(runner, 'train')

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self._signal(runner, 'val')
"""
EPOCHS = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3)
train_dataloader = dict(sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=_base_.train_pipeline[1:]))
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1, save_best=None))
val_cfg = val_dataloader = val_evaluator = None
log_processor = dict(by_epoch=True)
"""


def write_signalled(config: Path, moment: str, iteration: int, more: str = '') -> Path:
    (config.parent / 'signalled.py').write_text(SIGNALLED)
    hook = f"dict(type='SignalHook', moment='{moment}', iteration={iteration})"
    text = KILLED.replace('killing', 'signalled')
    text += f'custom_hooks = _base_.custom_hooks + [{hook}]\n{more}\n'
    run = config.with_name('run.py')
    run.write_text(text)
    return run


@pytest.mark.parametrize(
    ('moment', 'iteration', 'more', 'last'),
    [
        ('val', 2, '', 'iter_2.pth'),
        ('val', 2, 'default_hooks = dict(checkpoint=dict(interval=10))', 'iter_2.pth'),
        ('train', 1, 'optim_wrapper = dict(accumulative_counts=3)', 'iter_3.pth'),
        ('train', 5, EPOCHS, 'iter_6.pth'),
        ('train', 7, EPOCHS, 'epoch_2.pth'),
    ],
    ids=['saved before', 'saved after', 'accumulation', 'epoch', 'end of epoch'],
)
def test_moments(tiny_config, run_here, monkeypatch, capfd, moment, iteration, more, last):
    monkeypatch.syspath_prepend(tiny_config.parent)
    handler = signal.getsignal(signal.SIGTERM)
    config = write_signalled(tiny_config, moment, iteration, more)
    with pytest.raises(SystemExit) as stop:
        run_here('train.py', config)
    assert stop.value.code == 75
    work = tiny_config.parent / 'work'
    assert (work / 'last_checkpoint').read_text() == last
    assert f'{work}/{last} is saved' in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == handler
    meta = torch.load(work / last, weights_only=False)['meta']
    if 'max_epochs' in more:
        assert (meta['epoch'], meta['iter']) == ((1, 4) if iteration == 5 else (2, 8))
    else:
        assert meta['iter'] == int(last[5])


def test_last_iteration_ends_by_itself(tiny_config, run_here, monkeypatch, capfd):
    monkeypatch.syspath_prepend(tiny_config.parent)
    run_here('train.py', write_signalled(tiny_config, 'train', 3))
    assert 'stopped by' not in capfd.readouterr().err
    assert list((tiny_config.parent / 'work').glob('best_*.pth')), 'validation follows'
