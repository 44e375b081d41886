"""Trainings in two processes on CPUs: what they compute, resuming, and the death of one.

The processes of all but the last test are forked by a script that imports the stack once; the last
runs tools/dist_train.sh, torchrun and all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'train.py'
GLOO = 'env_cfg.dist_cfg.backend=gloo'
STEPS = 20

# Chance that depends on the process and statistics of a process's own images are left out; so are
# means over the pixels with a class, of which the processes' images have different numbers.
CONFIG = """
_base_ = './tiny.py'
custom_imports = dict(imports=['vil_mm', 'recording'])
custom_hooks = _base_.custom_hooks + [dict(type='RecordHook')]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
model = dict(
    backbone=dict(drop_path_rate=0.0),
    decode_head=dict(loss_decode=dict(avg_non_ignore=False)),
    auxiliary_head=dict(loss_decode=dict(avg_non_ignore=False)),
)
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=20, val_interval=100)
"""
RECORDING = """
from pathlib import Path
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch.nn import BatchNorm2d

@HOOKS.register_module()
class RecordHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, BatchNorm2d):
                module.eval()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs['loss'].double()
        all_reduce(loss, op='mean')
        if is_main_process():
            with Path(runner.work_dir, 'losses').open('a') as file:
                print(loss.item(), file=file)
"""
# arguments: the tool, then per run the number of processes and the options of the tool, from ';' on
FORK = """
import itertools, os, runpy, socket, sys
import mmengine.runner, mmseg.models, vil_mm

sys.path.append(os.path.dirname(sys.argv[1]))

def start(rank, count, port, args):
    pid = os.fork()
    if pid:
        return pid
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    sys.argv = ['train.py', *args, *(['--launcher', 'pytorch'] if count > 1 else [])]
    code = 1
    try:
        runpy.run_path(sys.argv.pop(1), run_name='__main__')
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)

groups = itertools.groupby(sys.argv[2:], lambda word: word == ';')
for count, *args in (list(words) for separator, words in groups if not separator):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    args = [sys.argv[1], *args]
    pids = [start(rank, int(count), port, args) for rank in range(int(count))]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids), args
"""


def train(folder: Path, *runs: tuple[int, str, int]) -> None:
    """Train (number of processes, work dir, last iteration) after each other; four images a step.

    A run in a work dir that another has used goes on from its last checkpoint.
    """
    words, used = [], set()
    for count, name, steps in runs:
        resume = ['--resume'] if name in used else []
        used.add(name)
        options = [f'train_cfg.max_iters={steps}', f'train_dataloader.batch_size={4 // count}']
        words += [';', str(count), 'run.py', '--no-validate', '--work-dir', name, *resume]
        words += ['--cfg-options', *options]
    environment = os.environ | {
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': os.pathsep.join((str(ROOT), str(folder))),
    }
    command = [sys.executable, '-c', FORK, str(TOOL), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=500
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def losses(folder: Path) -> list[float]:
    return [float(line) for line in (folder / 'losses').read_text().split()]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, write_tiny_config) -> Path:
    """One process, two processes, and one that became two and one again; equal batches."""
    folder = tmp_path_factory.mktemp('several')
    write_tiny_config(folder)
    (folder / 'run.py').write_text(CONFIG)
    (folder / 'recording.py').write_text(RECORDING)
    train(
        folder,
        (1, 'one', STEPS),
        (2, 'two', STEPS),
        (1, 'changing', 6),
        (2, 'changing', 12),
        (1, 'changing', STEPS),
    )
    return folder


@pytest.mark.slow
def test_two_processes_equal_one(trained):
    one, two = losses(trained / 'one'), losses(trained / 'two')
    assert len(one) == STEPS
    assert one[-1] < one[0] - 0.01, 'it learns'
    assert two == pytest.approx(one, abs=1e-5)


@pytest.mark.slow
def test_the_number_of_processes_may_change_on_the_way(trained):
    assert losses(trained / 'changing') == pytest.approx(losses(trained / 'one'), abs=1e-5)


WAITING = """
import os, pathlib, time
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class WaitHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3 and not os.environ.get('GO_ON'):
            pathlib.Path(f'pid{get_rank()}').write_text(str(os.getpid()))
            time.sleep(600)
"""
KILLED = """
_base_ = './tiny.py'
custom_imports = dict(imports=['vil_mm', 'waiting'])
custom_hooks = _base_.custom_hooks + [dict(type='WaitHook')]
"""


@pytest.mark.slow
def test_death_of_one_process_ends_the_job_which_can_be_resumed(tmp_path, write_tiny_config):
    write_tiny_config(tmp_path)
    (tmp_path / 'run.py').write_text(KILLED)
    (tmp_path / 'waiting.py').write_text(WAITING)
    script = [ROOT / 'tools' / 'dist_train.sh', 'run.py', '2', '--no-validate']
    command = [*map(str, script), '--resume', '--cfg-options', GLOO]
    environment = os.environ | {
        'PYTHON': sys.executable,
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': str(tmp_path),
    }
    pids = [tmp_path / 'pid0', tmp_path / 'pid1']
    with (tmp_path / 'log').open('w') as log:
        job = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 300
        while not all(pid.exists() and pid.read_text() for pid in pids):
            assert job.poll() is None, (tmp_path / 'log').read_text()[-3000:]
            assert time.monotonic() < deadline, 'no process came to the fourth iteration'
            time.sleep(0.2)
        os.kill(int(pids[1].read_text()), signal.SIGKILL)
        assert job.wait(timeout=120) != 0
    assert 'Signal 9 (SIGKILL)' in (tmp_path / 'log').read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pids[0].read_text()), 0)  # the other process is not left behind
    assert sorted(path.name for path in (tmp_path / 'work').glob('iter_*')) == ['iter_2.pth']

    environment['GO_ON'] = '1'
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'resumed epoch: 0, iter: 2' in done.stdout + done.stderr
    assert (tmp_path / 'work' / 'iter_4.pth').is_file()
