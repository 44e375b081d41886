"""What a run of several processes needs, before mmengine starts."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from mmengine.config import Config
from torch import distributed

from vil_mm.runs import distributed as processes
from vil_mm.runs.build import build_runner
from vil_mm.runs.distributed import check_strategy, join_processes

GLOO = {'dist_cfg': {'backend': 'gloo'}}


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(processes, 'get_device', lambda: 'cpu')
    monkeypatch.setenv('RANK', '0')


@pytest.fixture
def joined(monkeypatch, no_gpu) -> list:
    """What torch would have been told."""
    told = []
    monkeypatch.setattr(
        distributed, 'init_process_group', lambda backend, **kwargs: told.append((backend, kwargs))
    )
    return told


def test_one_process_joins_nothing(joined):
    cfg = Config({'launcher': 'none', 'env_cfg': {'dist_cfg': {'backend': 'nccl'}}})
    join_processes(cfg)
    assert joined == [] and 'model_wrapper_cfg' not in cfg


def test_gpus_are_left_to_mmengine(joined, monkeypatch):
    monkeypatch.setattr(processes, 'get_device', lambda: 'cuda')
    cfg = Config({'launcher': 'pytorch', 'env_cfg': {'dist_cfg': {'backend': 'nccl'}}})
    join_processes(cfg)
    assert joined == [] and 'model_wrapper_cfg' not in cfg


def test_gloo_joins_cpus(joined):
    backend = {'backend': 'gloo', 'timeout': 30}
    cfg = Config({'launcher': 'pytorch', 'env_cfg': {'dist_cfg': backend}})
    join_processes(cfg)
    [(backend, options)] = joined
    assert backend == 'gloo' and options['timeout'].total_seconds() == 30
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters is False


def test_options_of_the_wrapper_are_kept(joined):
    cfg = Config({'launcher': 'pytorch', 'env_cfg': GLOO, 'find_unused_parameters': True})
    join_processes(cfg)
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    cfg = Config({'launcher': 'pytorch', 'env_cfg': GLOO, 'model_wrapper_cfg': {'static_graph': 1}})
    join_processes(cfg)
    assert cfg.model_wrapper_cfg == {'static_graph': 1, 'device_ids': None}


def test_strategies_are_told_that_there_is_no_gpu(joined):
    cfg = Config({'launcher': 'pytorch', 'env_cfg': GLOO, 'runner_type': 'FlexibleRunner'})
    cfg.strategy = {'type': 'DDPStrategy', 'model_wrapper': {'other': 1}}
    join_processes(cfg)
    assert cfg.strategy.model_wrapper == {'other': 1, 'device_ids': None}
    assert 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize('kind', ['FSDPStrategy', 'WholeShapesFSDPStrategy'])
def test_fsdp_without_gpus(no_gpu, kind):
    cfg = Config({'launcher': 'pytorch', 'runner_type': 'FlexibleRunner'})
    cfg.strategy = {'type': kind}
    with pytest.raises(ValueError, match=f'{kind} needs GPUs'):
        check_strategy(cfg)


def test_nccl_without_gpus(no_gpu):
    cfg = Config({'launcher': 'pytorch', 'env_cfg': {'dist_cfg': {'backend': 'nccl'}}})
    with pytest.raises(ValueError, match=r'nccl needs GPUs.*dist_cfg\.backend=gloo'):
        join_processes(cfg)


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_launchers_that_need_gpus(no_gpu, launcher):
    with pytest.raises(ValueError, match=f'launcher={launcher!r}: needs GPUs'):
        join_processes(Config({'launcher': launcher, 'env_cfg': GLOO}))


def test_launcher_without_torchrun(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(ValueError, match='torchrun did not start this process'):
        join_processes(Config({'launcher': 'pytorch', 'env_cfg': GLOO}))


@pytest.mark.skipif(importlib.util.find_spec('deepspeed') is not None, reason='it is installed')
def test_deepspeed_that_is_not_installed():
    cfg = Config({'runner_type': 'FlexibleRunner', 'strategy': {'type': 'DeepSpeedStrategy'}})
    with pytest.raises(ValueError, match='pip install deepspeed'):
        check_strategy(cfg)


def test_synchronised_batchnorm_that_a_strategy_does_not_read():
    cfg = Config({'runner_type': 'FlexibleRunner', 'strategy': {'type': 'DDPStrategy'}})
    cfg.update(sync_bn='torch', launcher='pytorch')
    with pytest.raises(ValueError, match=r'set strategy\.sync_bn=torch'):
        check_strategy(cfg)


def test_strategy_of_several_processes_in_one():
    cfg = Config({'runner_type': 'FlexibleRunner', 'strategy': {'type': 'DDPStrategy'}})
    with pytest.raises(ValueError, match=r'tools/dist_train\.sh CONFIG GPUS'):
        check_strategy(cfg)
    cfg.launcher = 'pytorch'
    check_strategy(cfg)
    cfg = Config({'runner_type': 'FlexibleRunner', 'strategy': {'type': 'SingleDeviceStrategy'}})
    check_strategy(cfg)


@pytest.mark.parametrize('kind', ['Runner', 'FlexibleRunner'])
def test_runner_of_the_config(tmp_path, kind):
    cfg = Config({'work_dir': str(tmp_path), 'launcher': 'none', 'env_cfg': {}})
    cfg.experiment_name = f'runner_of_the_config_{kind}'
    cfg.model = torch.nn.Linear(1, 1)
    if kind != 'Runner':
        cfg.runner_type = kind
    assert kind in [parent.__name__ for parent in type(build_runner(cfg)).__mro__]
