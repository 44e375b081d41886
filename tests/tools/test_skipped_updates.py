"""Whole runs in which gradients become NaN although the loss is finite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
# {iterations}: counted from 0, those in which one process's gradient of a parameter is NaN
CONFIG = """
_base_ = './tiny.py'
custom_imports = dict(imports=['vil_mm', 'nan_gradients'])
custom_hooks = [dict(type='SeedIterationHook'), dict(type='NanGradientsHook', at={iterations})]
train_cfg = dict(max_iters=8, val_interval=2)
env_cfg = dict(dist_cfg=dict(backend='gloo'))
"""
HOOK = """
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class NanGradientsHook(Hook):
    def __init__(self, at):
        self.at = at

    def before_train(self, runner):
        weight = next(x for name, x in runner.model.named_parameters() if 'proj_up.weight' in name)
        spoils = get_rank() == get_world_size() - 1
        weight.register_hook(lambda g: g * float('nan') if spoils and runner.iter in self.at else g)
"""


@pytest.fixture
def config(tiny_config: Path, monkeypatch) -> Path:
    (tiny_config.parent / 'nan_gradients.py').write_text(HOOK)
    monkeypatch.syspath_prepend(str(tiny_config.parent))
    return tiny_config.with_name('spoilt.py')


def assert_finite(path: Path) -> dict:
    state = torch.load(path, weights_only=False)
    tensors = [*state['state_dict'].values()]
    for values in state.get('optimizer', {}).get('state', {}).values():
        tensors += [x for x in values.values() if isinstance(x, torch.Tensor)]
    assert all(x.isfinite().all() for x in tensors)
    return state


def names(work: Path) -> list[str]:
    return sorted(path.name for path in work.glob('*.pth'))


@pytest.mark.parametrize('amp', [[], ['--amp', 'bfloat16']], ids=['float32', 'bfloat16'])
def test_a_run_stops_with_finite_checkpoints_and_can_go_on(run_here, config, capsys, amp):
    config.write_text(CONFIG.format(iterations=[3, 4, 5, 6, 7]))
    limit = ['--cfg-options', 'optim_wrapper.max_skips_in_a_row=2']
    with pytest.raises(SystemExit) as error:
        run_here('train.py', config, *amp, *limit)
    assert error.value.code == 1
    work = config.parent / 'work'
    line = capsys.readouterr().err.splitlines()[-1]
    assert '3 in a row, 3 in all; the last time the gradients are not finite' in line
    assert f'The last checkpoint, {work / "iter_2.pth"}, has finite' in line
    best = [name for name in names(work) if name.startswith('best')]
    assert names(work) == [*best, 'iter_2.pth'] and len(best) == 1
    assert_finite(work / 'iter_2.pth')
    assert_finite(work / best[0])
    (log,) = work.glob('*/*.log')
    refused = 'no checkpoint is saved at iteration 4, but after the next good update: '
    assert log.read_text().count(f'{refused}an update was skipped') == 1
    assert log.read_text().count('no best checkpoint is saved at iteration 4: an update was') == 1

    config.write_text(CONFIG.format(iterations=[2, 3]))  # two more skips are allowed again
    run_here('train.py', config, '--resume', *amp, *limit)
    state = assert_finite(work / 'iter_8.pth')
    assert state['optimizer']['skips'] == (2, 0)


def test_a_checkpoint_that_is_due_waits_for_a_good_update(run_here, config):
    config.write_text(CONFIG.format(iterations=[3]))
    run_here('train.py', config, '--cfg-options', 'train_cfg.max_iters=6')
    work = config.parent / 'work'
    assert [x for x in names(work) if 'iter_4' in x] == []
    assert {'iter_5.pth', 'iter_6.pth'} <= set(names(work))
    assert_finite(work / 'iter_5.pth')


def test_weights_that_are_not_finite_are_not_saved(run_here, config):
    """With a wrapper that looks at nothing."""
    config.write_text(CONFIG.format(iterations=[3]))
    run_here('train.py', config, '--cfg-options', 'optim_wrapper.type=OptimWrapper')
    work = config.parent / 'work'
    assert (work / 'last_checkpoint').read_text() == 'iter_2.pth'
    for name in names(work):
        assert_finite(work / name)
    (log,) = work.glob('*/*.log')
    assert log.read_text().count('iter_4.pth is not saved: the weights are not finite') == 1


@pytest.mark.parametrize(('iterations', 'saved'), [([5], True), ([4, 5], False)])
def test_the_last_iteration_cannot_wait(run_here, config, iterations, saved):
    config.write_text(CONFIG.format(iterations=iterations))
    run_here('train.py', config, '--no-validate', '--cfg-options', 'train_cfg.max_iters=6')
    assert ('iter_6.pth' in names(config.parent / 'work')) == saved


@pytest.mark.slow
def test_two_processes_one_of_which_has_nan_gradients(config):
    config.write_text(CONFIG.format(iterations=[3, 6]))
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    done = subprocess.run(
        [*command, str(ROOT / 'tools' / 'train.py'), str(config), '--launcher', 'pytorch'],
        cwd=config.parent,
        env=os.environ
        | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join((str(ROOT), str(config.parent)))},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    state = assert_finite(config.parent / 'work' / 'iter_8.pth')
    assert state['optimizer']['skips'] == (2, 0)
