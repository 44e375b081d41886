"""A training that is killed and resumed ends with the weights of one that was left alone.

Drop path and augmentation are on and the data comes from a worker process, so that every source of
chance takes part. One process imports the stack and forks the trainings; each of them runs
tools/train.py in a process of its own, so that a kill takes everything that is not on the disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
ATOL = 1e-6  # same machine, one thread: exact equality is what is seen

CONFIG = """
_base_ = './tiny.py'
model = dict(backbone=dict(drop_path_rate=0.5))
train_dataloader = dict(num_workers=1)
train_cfg = dict(max_iters=6, val_interval=100)
"""
WITHOUT = {
    'SeedIterationHook': "custom_hooks = [dict(type='RequireWeightsHook')]",
    'SeedAugmentation': """
train_dataloader = dict(
    dataset=dict(pipeline=_base_.train_pipeline[1:]),
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
)
""",
}
# The training that is to be killed stops for good in its fourth iteration, after the checkpoint
# of the second: the third is lost, a picture for the fourth may be waiting in the worker.
STALLED = """
_base_ = './run.py'
custom_imports = dict(imports=['vil_mm', 'stall'])
custom_hooks = _base_.custom_hooks + [dict(type='StallHook')]
"""
STALL = """
import pathlib, time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class StallHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3:
            pathlib.Path('stalled').touch()
            time.sleep(600)
"""
FORK = """
import os, pathlib, runpy, signal, sys, time
import mmengine.runner, mmseg.models, vil_mm

sys.path.append(os.path.dirname(sys.argv[1]))

def start(*args):
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    sys.argv = ['train.py', *args]
    code = 1
    try:
        runpy.run_path(sys.argv.pop(1), run_name='__main__')
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)

def end(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

tool = sys.argv[1]
whole = start(tool, 'run.py', '--no-validate', '--work-dir', 'whole')
killed = start(tool, 'stalled.py', '--no-validate', '--work-dir', 'killed')
while not os.path.exists('stalled'):
    assert os.waitpid(killed, os.WNOHANG) == (0, 0), 'it ended before it could be killed'
    time.sleep(0.02)
os.killpg(killed, signal.SIGKILL)  # its worker as well: none may outlive the test
assert end(killed) == -signal.SIGKILL
assert sorted(path.name for path in pathlib.Path('killed').glob('*.pth')) == ['iter_2.pth']
assert end(whole) == 0
assert end(start(tool, 'run.py', '--no-validate', '--work-dir', 'killed', '--resume')) == 0
"""


def train_twice(folder: Path, write_tiny_config, *, without: tuple[str, ...] = ()) -> list[dict]:
    """Final weights of an uninterrupted training and of one that was killed and resumed."""
    write_tiny_config(folder)
    (folder / 'run.py').write_text(CONFIG)
    if without:
        (folder / 'run.py').rename(folder / 'full.py')
        parts = [WITHOUT[name] for name in without]
        (folder / 'run.py').write_text('\n'.join(["_base_ = './full.py'", *parts]))
    (folder / 'stalled.py').write_text(STALLED)
    (folder / 'stall.py').write_text(STALL)
    path = os.pathsep.join((str(ROOT), str(folder)))
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': path}
    command = [sys.executable, '-c', FORK, str(ROOT / 'tools' / 'train.py')]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return [load(folder / name / 'iter_6.pth') for name in ('whole', 'killed')]


def load(file: Path) -> dict:
    return torch.load(file, weights_only=False, map_location='cpu')


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[key].double() - other[key].double()).abs().max().item() for key in one)


def log_of(work_dir: Path) -> str:
    return '\n'.join(path.read_text() for path in sorted(work_dir.glob('*/*.log')))


def test_killed_and_resumed_equals_uninterrupted(tmp_path, write_tiny_config):
    whole, resumed = train_twice(tmp_path, write_tiny_config)
    start = load(tmp_path / 'killed' / 'iter_4.pth')
    assert largest_difference(start['state_dict'], whole['state_dict']) > 1e-4, 'it learns'
    assert largest_difference(whole['state_dict'], resumed['state_dict']) <= ATOL
    moments, resumed_moments = (run['optimizer']['state'] for run in (whole, resumed))
    assert all(
        torch.allclose(moments[i]['exp_avg'], resumed_moments[i]['exp_avg'], atol=ATOL)
        for i in moments
    )
    log = log_of(tmp_path / 'killed')
    assert 'Load checkpoint from killed/iter_2.pth' in log
    assert 'resumed epoch: 0, iter: 2' in log
    assert 'from scratch' not in log.split('resumed epoch')[1]


@pytest.mark.slow
@pytest.mark.parametrize('without', WITHOUT)
def test_each_part_is_needed(tmp_path, write_tiny_config, without):
    whole, resumed = train_twice(tmp_path, write_tiny_config, without=(without,))
    assert largest_difference(whole['state_dict'], resumed['state_dict']) > 1e-4
