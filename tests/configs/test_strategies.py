"""Configs for FSDP and DeepSpeed, as far as they can be seen without GPUs."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from mmengine._strategy import FSDPStrategy
from mmengine._strategy.deepspeed import MMDeepSpeedEngineWrapper
from mmengine.config import Config
from mmengine.registry import FUNCTIONS, MODELS, STRATEGIES
from mmseg.utils import register_all_modules
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from vil_mm.engine.strategies import WholeShapesFSDPStrategy

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'strategies/upernet_vil_b_512x512_ade20k_{name}.py')


@pytest.mark.parametrize('name', ['fsdp', 'deepspeed'])
def test_recipe_is_that_of_one_gpu(name):
    base = Config.fromfile(CONFIGS / 'upernet_vil_b_512x512_ade20k.py')
    cfg = load(name)
    assert cfg.runner_type == 'FlexibleRunner'
    assert cfg.strategy.type in STRATEGIES or STRATEGIES.get(cfg.strategy.type) is not None
    for key in ('model', 'param_scheduler', 'train_dataloader', 'train_cfg'):
        assert cfg[key] == base[key], key
    for key in ('optimizer', 'paramwise_cfg', 'constructor'):
        assert cfg.optim_wrapper[key] == base.optim_wrapper[key], key


def test_fsdp_wraps_blocks_and_nothing_that_is_called_by_other_methods() -> None:
    """mmseg calls ``loss`` and ``predict`` of heads, past the hooks that gather a unit's pieces."""
    cfg = load('fsdp')
    policy = FUNCTIONS.get(cfg.strategy.model_wrapper.auto_wrap_policy)
    register_all_modules(init_default_scope=True)
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    units = [
        name
        for name, module in model.named_modules()
        if policy(module=module, recurse=False, nonwrapped_numel=10**9)
    ]
    assert units == [f'backbone.blocks.{index}' for index in range(12)]


@pytest.mark.parametrize('kind', ['FiniteLossAmpOptimWrapper', 'FiniteLossOptimWrapper'])
def test_losses_are_scaled_by_all_processes_together(kind: str, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(FSDPStrategy, 'build_optim_wrapper', lambda _, cfg, model: seen.append(cfg))
    monkeypatch.setattr(
        FullyShardedDataParallel, 'summon_full_params', lambda *_, **__: contextlib.nullcontext()
    )
    strategy = object.__new__(WholeShapesFSDPStrategy)
    strategy.build_optim_wrapper({'type': kind}, nn.Linear(1, 1))
    assert seen[0].get('use_fsdp') == (True if 'Amp' in kind else None)


def test_states_of_the_optimizer_are_asked_for_as_torch_names_them(monkeypatch) -> None:
    accepted = inspect.signature(FullyShardedDataParallel.optim_state_dict_to_load)

    def load_states(**given):
        accepted.bind(**given)
        return {'of': given['optim_state_dict']}

    monkeypatch.setattr(FullyShardedDataParallel, 'optim_state_dict_to_load', load_states)
    strategy = object.__new__(WholeShapesFSDPStrategy)
    strategy.model, strategy.optim_wrapper = nn.Linear(1, 1), Mock()
    strategy.load_optim_state_dict({'state': 1})
    strategy.optim_wrapper.load_state_dict.assert_called_once_with({'of': {'state': 1}})


def test_deepspeed_gets_images_in_half_precision() -> None:
    cfg = load('deepspeed')
    cast = MMDeepSpeedEngineWrapper._cast_inputs_half
    wrapper = Mock(
        _inputs_to_half=cfg.strategy.inputs_to_half, model=nn.Linear(1, 1, dtype=torch.bfloat16)
    )
    preprocessor = MODELS.build(dict(cfg.model.data_preprocessor, type='mmseg.SegDataPreProcessor'))
    data = preprocessor({'inputs': [torch.zeros(3, 512, 512, dtype=torch.uint8)]}, False)
    assert cast(wrapper, data)['inputs'].dtype == torch.bfloat16
