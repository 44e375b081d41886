"""Autocast without loss scaling: the arithmetic is bfloat16, the weights stay float32."""

from __future__ import annotations

import pytest
import torch
from mmengine.device import get_device
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from torch.nn.functional import linear

from vil_mm.engine.optim import AutocastOptimWrapper


@pytest.fixture
def model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(8, 4).to(get_device())


def wrapper_of(model: nn.Module, **kwargs) -> AutocastOptimWrapper:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    cfg = dict(type='AutocastOptimWrapper', optimizer=optimizer, **kwargs)
    wrapper = OPTIM_WRAPPERS.build(cfg)
    assert isinstance(wrapper, AutocastOptimWrapper)
    return wrapper


def test_linear_runs_in_bfloat16_only_inside(model):
    wrapper, x = wrapper_of(model), torch.randn(2, 8, device=get_device())
    with wrapper.optim_context(model):
        inside = model(x)
    assert inside.dtype == torch.bfloat16
    assert torch.equal(inside, linear(x.bfloat16(), model.weight.bfloat16(), model.bias.bfloat16()))
    assert model(x).dtype == torch.float32


def test_it_trains(model):
    wrapper, losses = wrapper_of(model, clip_grad=dict(max_norm=10.0)), []
    x, y = torch.randn(16, 8, device=get_device()), torch.randn(16, 4, device=get_device())
    for _ in range(30):
        with wrapper.optim_context(model):
            loss = (model(x).float() - y).square().mean()
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert model.weight.dtype == torch.float32


def test_accumulated_gradients_step_once_in_two(model):
    wrapper = wrapper_of(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    weights = []
    for _ in range(4):
        with wrapper.optim_context(model):
            loss = model(torch.ones(2, 8, device=get_device())).float().square().mean()
        wrapper.update_params(loss)
        weights.append(model.weight.detach().clone())
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[2], weights[3])


@pytest.mark.parametrize('dtype', ['float16', 'float32'])
def test_refuses_another_dtype(model, dtype):
    with pytest.raises(ValueError, match=f"no loss scaling for '{dtype}'; use bfloat16"):
        wrapper_of(model, dtype=dtype)
