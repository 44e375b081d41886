"""Compilation by a hook: that it happens, what stays as it was, and errors."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmseg.models import SegTTAModel
from torch import nn

from vil_mm.engine import CompileBackboneHook
from vil_mm.models import VisionLSTM

ARCH = dict(embed_dims=16, num_layers=2)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = VisionLSTM(arch=ARCH, img_size=32)
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images)[0])


def runner_of(model: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(model=model, logger=logging.getLogger('test'))


@pytest.fixture
def graphs() -> list:
    """What a backend of torch.compile has been asked to compile."""
    torch._dynamo.reset()
    return []


def counting(graphs: list):
    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    return backend


@pytest.mark.parametrize(('blocks', 'event'), [(False, 'before_train'), (True, 'before_test')])
def test_the_backbone_is_compiled_and_its_output_stays(graphs, blocks, event) -> None:
    model, images = Model().eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected, names = model(images), list(model.state_dict())
    hook = CompileBackboneHook(blocks=blocks, fullgraph=True, backend=counting(graphs))
    getattr(hook, event)(runner_of(model))
    assert not graphs, 'nothing before the first batch'
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected)
    assert len(graphs) == 1 or blocks, 'one graph of the whole backbone'
    assert graphs
    assert list(model.state_dict()) == names
    assert (model.backbone._compiled_call_impl is None) == blocks
    assert all((block._compiled_call_impl is None) != blocks for block in model.backbone.blocks)
    assert model._compiled_call_impl is None and model.head._compiled_call_impl is None


def test_it_is_compiled_once(graphs) -> None:
    model = Model()
    hook = CompileBackboneHook(backend=counting(graphs))
    hook.before_train(runner_of(model))
    first = model.backbone._compiled_call_impl
    hook.before_val(runner_of(model))
    assert model.backbone._compiled_call_impl is first


@pytest.mark.slow
def test_gradients_stay() -> None:
    torch.manual_seed(0)
    model, images = Model(), torch.randn(1, 3, 32, 32)
    model(images).square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    torch._dynamo.reset()
    hook = CompileBackboneHook(blocks=True, backend='aot_eager')
    hook.before_train(runner_of(model))
    model(images).square().sum().backward()
    got = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_wrappers_are_looked_through() -> None:
    model = Model()
    model.test_step = model.forward  # which such a wrapper asks for
    CompileBackboneHook().before_test(runner_of(SegTTAModel(model)))
    assert model.backbone._compiled_call_impl is not None


def test_models_without_such_parts() -> None:
    with pytest.raises(ValueError, match='Linear has no backbone'):
        CompileBackboneHook().before_train(runner_of(nn.Linear(2, 2)))
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='Linear has no list of blocks'):
        CompileBackboneHook(blocks=True).before_train(runner_of(model))


@pytest.mark.slow
def test_a_run_of_a_config_with_the_hook(tiny_config, tmp_path) -> None:
    """Train, validate and leave a checkpoint whose names are those of a plain model."""
    torch._dynamo.reset()
    cfg = Config.fromfile(tiny_config)
    plain = set(Runner.from_cfg(cfg.copy()).model.state_dict())
    hook = dict(type='CompileBackboneHook', blocks=True, backend='eager')
    cfg.custom_hooks = [*cfg.custom_hooks, hook]
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert all(block._compiled_call_impl is not None for block in runner.model.backbone.blocks)
    saved = torch.load(tmp_path / 'work' / 'iter_2.pth', weights_only=False)
    assert set(saved['state_dict']) == plain


def test_it_is_found_by_name() -> None:
    assert isinstance(HOOKS.build(dict(type='CompileBackboneHook')), CompileBackboneHook)
