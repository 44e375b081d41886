"""What a run can be resumed from; tests/faults tries many more states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, OneCycleLR
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from torch import nn

from vil_mm.checkpoints.reading import CheckpointError, read_checkpoint
from vil_mm.checkpoints.resumable import check_optimizer, check_resumable, check_schedulers

NAN = float('nan')


def trained_optimizer(kind: type = torch.optim.AdamW) -> torch.optim.Optimizer:
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


def test_parts_of_a_run(resumable) -> None:
    check_resumable(resumable, 'x.pth')
    check_resumable({**resumable, 'param_schedulers': None}, 'x.pth', with_schedulers=False)
    for part in ('meta', 'optimizer', 'param_schedulers', 'message_hub'):
        with pytest.raises(CheckpointError, match=rf'x\.pth cannot be resumed: it has no {part},'):
            check_resumable({**resumable, part: None}, 'x.pth')


@pytest.mark.parametrize('done', [-1, 5, 10**12, 2.0, '2', NAN, None, True])
def test_iterations(resumable, done: object) -> None:
    resumable['message_hub']['runtime_info']['max_iters'] = 4
    resumable['meta']['iter'] = done
    with pytest.raises(CheckpointError, match=r'its meta\.iter is .*, expected 0 to 4'):
        check_resumable(resumable, 'x.pth')


def test_text_of_a_config_is_not_run(resumable) -> None:
    """mmengine runs ``meta['config']``, which mmcv 1 wrote, when it resumes."""
    resumable['meta']['config'] = 'import os'
    with pytest.raises(CheckpointError, match='would be run as a program'):
        check_resumable(resumable, 'x.pth')


def test_names_of_checkpoints_to_delete(resumable) -> None:
    resumable['message_hub']['runtime_info']['keep_ckpt_ids'] = ['../../x']
    with pytest.raises(CheckpointError, match='malformed keep_ckpt_ids'):
        check_resumable(resumable, 'x.pth')


@pytest.mark.parametrize('kind', [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_its_own_optimizer_fits(kind: type) -> None:
    optimizer = trained_optimizer(kind)
    check_optimizer(optimizer.state_dict(), optimizer, 'x.pth')
    fresh = kind([nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2))], lr=0.5)
    check_optimizer(optimizer.state_dict(), fresh, 'x.pth')


CHANGES: dict[str, Callable[[dict], object]] = {
    'lr': lambda saved: saved['param_groups'][0].update(lr=NAN),
    'betas': lambda saved: saved['param_groups'][0].update(betas=0.9),
    'exp_avg': lambda saved: saved['state'][0].update(exp_avg=torch.ones(3, 3)),
    'exp_avg of parameter 1': lambda saved: saved['state'][1].pop('exp_avg'),
    'exp_avg_sq': lambda saved: saved['state'][0].update(exp_avg_sq=-torch.ones(2, 3)),
    'step': lambda saved: saved['state'][0].update(step=torch.tensor(NAN)),
    'state of 7': lambda saved: saved['state'].update({7: {}}),
    'counts of skipped': lambda saved: saved.update(skips='x'),
}


@pytest.mark.parametrize('part', CHANGES)
def test_malformed_optimizer(part: str) -> None:
    optimizer = trained_optimizer()
    saved = optimizer.state_dict()
    saved['state'] = {key: dict(state) for key, state in saved['state'].items()}
    CHANGES[part](saved)
    with pytest.raises(CheckpointError, match=f'its optimizer has .*malformed {part}') as error:
        check_optimizer(saved, optimizer, 'x.pth')
    assert '\n' not in str(error.value)


def test_moments_are_needed() -> None:
    optimizer = trained_optimizer()
    with pytest.raises(CheckpointError, match='has no moments'):
        check_optimizer({**optimizer.state_dict(), 'state': {}}, optimizer, 'x.pth')


def test_a_function_of_annealing_is_the_only_one_of_its_class(tmp_path):
    """OneCycleLR pickles one; another, or a state for it, does not pass."""
    schedule = OneCycleLR(trained_optimizer(), eta_max=0.1, total_steps=20)
    torch.save({'param_schedulers': [schedule.state_dict()]}, tmp_path / 'x.pth')
    (state,) = read_checkpoint(str(tmp_path / 'x.pth'))['param_schedulers']
    check_schedulers(
        [state], [OneCycleLR(trained_optimizer(), eta_max=0.1, total_steps=20)], 'x.pth'
    )
    assert state['anneal_func'](1.0, 0.0, 0.5) == pytest.approx(0.5)
    torch.save({'x': OneCycleParamScheduler._get_value}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError):
        read_checkpoint(str(tmp_path / 'x.pth'))


def test_schedulers_that_have_not_begun(tmp_path):
    schedules = [
        CosineAnnealingLR(trained_optimizer(), T_max=5, begin=5, by_epoch=False) for _ in '12'
    ]
    assert schedules[0].state_dict()['last_step'] == -1
    check_schedulers([schedules[0].state_dict()], schedules[1:], 'x.pth')
