"""Configs for FSDP and DeepSpeed, as far as they can be seen without GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import STRATEGIES

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.parametrize('name', ['fsdp', 'deepspeed'])
def test_recipe_is_that_of_one_gpu(name):
    base = Config.fromfile(CONFIGS / 'upernet_vil_b_512x512_ade20k.py')
    cfg = Config.fromfile(CONFIGS / f'strategies/upernet_vil_b_512x512_ade20k_{name}.py')
    assert cfg.runner_type == 'FlexibleRunner'
    assert cfg.strategy.type in STRATEGIES or STRATEGIES.get(cfg.strategy.type) is not None
    for key in ('model', 'param_scheduler', 'train_dataloader', 'train_cfg'):
        assert cfg[key] == base[key], key
    for key in ('optimizer', 'paramwise_cfg', 'constructor'):
        assert cfg.optim_wrapper[key] == base.optim_wrapper[key], key
