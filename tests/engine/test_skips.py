"""Losses and gradients that are not finite: what is left out, what counts, when a run stops."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from vil_mm.engine.optim import SkipNonFinite, TrainingDivergedError

KINDS = ['FiniteLossOptimWrapper', 'AutocastOptimWrapper']


def wrapper_of(model: nn.Module, kind: str = KINDS[0], **kwargs) -> OptimWrapper:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    return OPTIM_WRAPPERS.build(dict(type=kind, optimizer=optimizer, **kwargs))


class BadGradient(torch.autograd.Function):
    """The identity; its gradient is a given value, in one entry."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, value: float) -> torch.Tensor:
        ctx.value = value
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient = gradient.clone()
        gradient.view(-1)[0] = ctx.value
        return gradient, None


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def batch(value: float) -> torch.Tensor:
    """Five rows; a value that is not finite is in one of them only."""
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(7))
    rows[0, 0] = value
    return rows


def train(
    model: nn.Module, wrapper: OptimWrapper, values: list[float], *, finite_loss: bool = False
) -> None:
    """A value that is not finite is in the batch, or only in the gradient of the loss."""
    for value in values:
        bad_gradient = finite_loss and not math.isfinite(value)
        with wrapper.optim_context(model):
            out = model(batch(0.7 if bad_gradient else value))
            out = BadGradient.apply(out, value) if bad_gradient else out
            loss = out.float().square().mean()
        assert math.isfinite(loss) == (finite_loss or math.isfinite(value))
        wrapper.update_params(loss)


def assert_equal_states(model: nn.Module, expected: nn.Module) -> None:
    state = model.state_dict()
    for key, want in expected.state_dict().items():
        assert torch.equal(state[key], want), key
        assert want.isfinite().all()


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0), dict(type='value', clip_value=0.1)])
@pytest.mark.parametrize('finite_loss', [False, True], ids=['loss', 'gradient'])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_skipped_update_leaves_no_trace(kind, bad, finite_loss, clip):
    model, plain = new_model(), new_model()
    wrapper, reference = (wrapper_of(x, kind, clip_grad=copy.copy(clip)) for x in (model, plain))
    train(model, wrapper, [0.5, bad, 1.0, bad, bad, 2.0], finite_loss=finite_loss)
    train(plain, reference, [0.5, 1.0, 2.0])
    assert_equal_states(model, plain)
    first, second = (x.optimizer.state_dict()['state'] for x in (wrapper, reference))
    assert all(
        torch.equal(first[i]['momentum_buffer'], second[i]['momentum_buffer']) for i in first
    )
    assert (wrapper.skips, wrapper.skips_in_a_row) == (3, 0)
    assert wrapper.message_hub.get_scalar('train/skipped').current() == 3
    assert wrapper.inner_count == 6 and reference.inner_count == 3


@pytest.mark.parametrize('finite_loss', [False, True], ids=['loss', 'gradient'])
@pytest.mark.parametrize('position', [0, 1])
def test_with_accumulation_the_whole_update_is_left_out(position, finite_loss):
    model, plain = new_model(), new_model()
    bad = [3.0, 3.0]
    bad[position] = math.nan
    wrapper = wrapper_of(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 6)
    train(model, wrapper, [0.5, 1.0, *bad, 1.5, 2.0], finite_loss=finite_loss)
    reference = wrapper_of(plain, accumulative_counts=2)
    reference.initialize_count_status(plain, 0, 4)
    train(plain, reference, [0.5, 1.0, 1.5, 2.0])
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.grad is None, 'nothing is left over for the next update'
    assert_equal_states(model, plain)  # BatchNorm's statistics are those before the update's start
    assert (wrapper.skips, wrapper.skips_in_a_row, wrapper.inner_count) == (1, 0, 6)


def test_two_bad_batches_of_one_update_are_one_skip():
    model = new_model()
    wrapper = wrapper_of(model, accumulative_counts=2, max_skips_in_a_row=1)
    before = copy.deepcopy(model)
    train(model, wrapper, [math.nan])
    assert (wrapper.skips, wrapper.recent_skips) == (0, 1)
    assert_equal_states(model, before)
    train(model, wrapper, [math.nan])
    assert (wrapper.skips, wrapper.recent_skips) == (1, 1)


@pytest.mark.parametrize('kind', KINDS)
def test_statistics_that_overflow_do_not_stay(kind):
    """Numbers times 1e30 have an infinite variance; what BatchNorm returns, and the loss, is 0."""
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    before, wrapper = copy.deepcopy(model), wrapper_of(model, kind)
    with wrapper.optim_context(model):
        loss = model(1e30 * batch(1.0)).float().square().mean()
    assert loss.isfinite() and not model[0].running_var.isfinite().all()
    wrapper.update_params(loss)
    assert_equal_states(model, before)
    assert wrapper.skips == 1


def test_one_norm_serves_clipping_and_the_check(monkeypatch):
    model = new_model()
    wrapper = wrapper_of(model, clip_grad=dict(max_norm=0.01))
    calls = []
    clip = wrapper.clip_func
    wrapper.clip_func = lambda *args, **kwargs: calls.append(1) or clip(*args, **kwargs)
    before = copy.deepcopy(model.state_dict())
    train(model, wrapper, [1.0])
    change = [model.state_dict()[key] - before[key] for key, _ in model.named_parameters()]
    assert len(calls) == 1
    moved = torch.cat([x.flatten() for x in change]).norm().item()
    assert moved == pytest.approx(0.5 * 0.01, rel=1e-3)
    assert wrapper.message_hub.get_scalar('train/grad_norm').current() > 0.01


@pytest.mark.parametrize('kind', KINDS)
def test_too_many_in_a_row(kind):
    model = new_model()
    wrapper = wrapper_of(model, kind, max_skips_in_a_row=2)
    train(model, wrapper, [math.nan, math.nan, 1.0, math.nan, math.nan])
    weights = copy.deepcopy(model.state_dict())
    with pytest.raises(TrainingDivergedError, match='not finite, 3 in a row, 5 in all') as error:
        train(model, wrapper, [math.nan])
    assert '\n' not in str(error.value) and 'max_skips_in_a_row=2' in str(error.value)
    assert all(torch.equal(x, weights[key]) for key, x in model.state_dict().items())


def test_too_many_in_all():
    model = new_model()
    wrapper = wrapper_of(model, max_skips=2)
    train(model, wrapper, [math.nan, 1.0, math.inf, 1.0])
    with pytest.raises(TrainingDivergedError, match='1 in a row, 3 in all'):
        train(model, wrapper, [math.nan])
    wrapper = wrapper_of(model, max_skips=None, max_skips_in_a_row=2000)
    train(model, wrapper, [math.nan] * 1001)


def test_none_may_be_allowed():
    with pytest.raises(TrainingDivergedError, match='1 in a row, 1 in all'):
        train(new_model(), wrapper_of(new_model(), max_skips=0), [math.nan])


@pytest.mark.parametrize('limit', [dict(max_skips=-1), dict(max_skips_in_a_row=-1)])
def test_negative_limits_are_refused(limit):
    with pytest.raises(ValueError, match='must be 0 or more'):
        wrapper_of(new_model(), **limit)


def test_resuming_goes_on_counting_but_has_the_limits_anew():
    model = new_model()
    first = wrapper_of(model, max_skips=3, max_skips_in_a_row=2)
    train(model, first, [math.nan, 1.0, math.nan, math.nan])
    second = wrapper_of(model, max_skips=3, max_skips_in_a_row=2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert (second.skips, second.skips_in_a_row) == (3, 0)
    train(model, second, [math.nan, math.nan, 1.0, math.nan])
    assert second.skips == 6
    with pytest.raises(TrainingDivergedError, match='2 in a row, 4 in all'):
        train(model, second, [math.nan])


@pytest.mark.parametrize('kind', ['OptimWrapper', KINDS[0]])
def test_states_of_other_wrappers_are_exchanged(kind):
    model = new_model()
    other = 'OptimWrapper' if kind == KINDS[0] else KINDS[0]
    first, second = wrapper_of(model, other), wrapper_of(model, kind)
    train(model, first, [1.0])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(model, second, [1.0])
    assert (
        first.optimizer.state_dict()['state'].keys()
        == second.optimizer.state_dict()['state'].keys()
    )


def test_float16_keeps_the_scaling_of_mmengine():
    kind = OPTIM_WRAPPERS.get('FiniteLossAmpOptimWrapper')
    assert issubclass(kind, SkipNonFinite) and issubclass(kind, AmpOptimWrapper)
    assert kind.step is AmpOptimWrapper.step and kind.backward is AmpOptimWrapper.backward


class CpuScaler(torch.amp.GradScaler):
    """Loss scaling without a GPU."""

    def __init__(self, **kwargs) -> None:
        super().__init__('cpu', **kwargs)


def scaled_wrapper(monkeypatch, model: nn.Module, **kwargs) -> OptimWrapper:
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{module}.GradScaler', CpuScaler)
    monkeypatch.setattr('mmengine.runner.amp.autocast', lambda **_: contextlib.nullcontext())
    return wrapper_of(model, 'FiniteLossAmpOptimWrapper', **kwargs)


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_the_search_for_a_loss_scale_is_no_divergence(monkeypatch, clip):
    """Gradients that overflow at any scale count only when the scale has come down to 1."""
    model = new_model()
    before = copy.deepcopy(model)
    wrapper = scaled_wrapper(monkeypatch, model, max_skips_in_a_row=2, clip_grad=clip)
    train(model, wrapper, [math.inf] * 16, finite_loss=True)
    assert wrapper.loss_scaler.get_scale() == 1.0
    assert (wrapper.skips, wrapper.recent_skips) == (0, 0)
    train(model, wrapper, [math.nan, math.inf], finite_loss=True)
    assert (wrapper.skips, wrapper.skips_in_a_row) == (2, 2)
    assert_equal_states(model, before)
    train(model, wrapper, [1.0, math.nan])
    assert (wrapper.skips, wrapper.skips_in_a_row) == (3, 1)
    assert wrapper.loss_scaler.get_scale() == 0.25, 'a loss that is not finite changes no scale'
    with pytest.raises(TrainingDivergedError, match='gradients were not finite, 3 in a row'):
        train(model, wrapper, [math.nan, math.nan], finite_loss=True)


def test_a_fixed_loss_scale_is_not_searched_for(monkeypatch):
    model = new_model()
    wrapper = scaled_wrapper(monkeypatch, model, loss_scale=512.0)
    train(model, wrapper, [math.inf, 1.0], finite_loss=True)
    assert (wrapper.skips, wrapper.skips_in_a_row) == (1, 0)
    assert wrapper.loss_scaler.get_scale() == 512.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 needs a GPU')
def test_float16_on_a_gpu():
    model = new_model().cuda()
    wrapper = wrapper_of(model, 'FiniteLossAmpOptimWrapper')
    before = copy.deepcopy(model.state_dict())
    for value in (math.nan, 1.0, 1.0, 1.0):
        with wrapper.optim_context(model):
            loss = model(batch(value).cuda()).float().square().mean()
        wrapper.update_params(loss)
        changed = any(not torch.equal(x, before[key]) for key, x in model.state_dict().items())
        assert changed != math.isnan(value)
    assert wrapper.skips == 1 and wrapper.state_dict()['skips'] == (1, 0)


TWO_PROCESSES = """
import math, sys
import torch
from mmengine.model import MMDistributedDataParallel
import vil_mm
from tests_skips import BadGradient, batch, new_model, wrapper_of

torch.distributed.init_process_group('gloo')
rank, counts = torch.distributed.get_rank(), int(sys.argv[1])
finite_loss = sys.argv[3] == 'gradient'
model = MMDistributedDataParallel(new_model())
wrapper = wrapper_of(model, accumulative_counts=counts)
wrapper.initialize_count_status(model, 0, 8)
bad = [math.nan if rank == who else 3.0 for who in (1, 0)]
values = [0.5, 1.0, bad[0], 1.5, 2.0, bad[1], 2.5, 0.1]
for value in values:
    bad_gradient = finite_loss and math.isnan(value)
    with wrapper.optim_context(model):
        out = model(batch(3.0 if bad_gradient else value))
        out = BadGradient.apply(out, value) if bad_gradient else out
        loss = out.square().mean()
    wrapper.update_params(loss)
assert wrapper.skips == 2, wrapper.skips
weights = torch.cat([x.detach().flatten().float() for x in model.state_dict().values()])
assert weights.isfinite().all()
others = [torch.empty_like(weights) for _ in range(2)]
torch.distributed.all_gather(others, weights)
assert torch.equal(*others), 'the processes have drifted apart'
if rank == 0:
    torch.save(weights, sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize('what', ['loss', 'gradient'])
@pytest.mark.parametrize('counts', [1, 2])
def test_two_processes_skip_together(tmp_path: Path, counts: int, what: str):
    (tmp_path / 'tests_skips.py').write_text(Path(__file__).read_text())
    script = tmp_path / 'two.py'
    script.write_text(TWO_PROCESSES)
    environment = os.environ | {
        'PYTHONPATH': f'{Path(__file__).parents[2]}',
        'OMP_NUM_THREADS': '1',
    }
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    done = subprocess.run(
        [*command, str(script), str(counts), str(tmp_path / 'weights.pth'), what],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # one process: both have had the same batches but for those that were skipped
    model = new_model()
    wrapper = wrapper_of(model, accumulative_counts=counts)
    kept = [0.5, 1.0, 1.5, 2.0, 2.5, 0.1] if counts == 1 else [0.5, 1.0, 2.5, 0.1]
    wrapper.initialize_count_status(model, 0, len(kept))
    train(model, wrapper, kept)
    expected = torch.cat([x.detach().flatten().float() for x in model.state_dict().values()])
    torch.testing.assert_close(torch.load(tmp_path / 'weights.pth'), expected)
