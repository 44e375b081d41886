"""Check the strategy of a run and connect its processes.

mmengine connects processes itself, but needs CUDA for it. On CPUs they are connected here (gloo)
before mmengine starts; on GPUs mmengine does everything.
"""

from __future__ import annotations

import datetime
import os
import warnings
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.device import get_device
from torch import distributed

from vil_mm.errors import ArgumentError
from vil_mm.runs.screen import is_first_process

_ONE_PROCESS = ('SingleDeviceStrategy',)


def prepare_processes(cfg: Config) -> None:
    """Check the strategy of a run and, on CPUs, connect its processes.

    Only the first process shows warnings.

    Raises:
        ValueError: The run needs processes or a package that are missing.
    """
    check_strategy(cfg)
    join_processes(cfg)
    if not is_first_process(cfg):
        warnings.simplefilter('ignore')


def check_strategy(cfg: Config) -> None:
    """Fail if a config's ``strategy`` cannot work here.

    Raises:
        ValueError: It needs GPUs or several processes, DeepSpeed is not installed, or an option
            would have no effect.
    """
    kind = (cfg.get('strategy') or {}).get('type')
    if not kind or cfg.get('runner_type', 'Runner') == 'Runner':
        return
    if cfg.get('sync_bn'):
        raise ValueError(
            'sync_bn has no effect with a strategy: set strategy.sync_bn=torch for FSDP; DeepSpeed '
            'has no such option'
        )
    if kind == 'DeepSpeedStrategy' and find_spec('deepspeed') is None:
        raise ValueError('strategy DeepSpeedStrategy needs a package: pip install deepspeed')
    if 'FSDP' in kind and get_device() == 'cpu':
        raise ValueError(f'strategy {kind} needs GPUs: PyTorch does not shard models on CPUs')
    if cfg.get('launcher', 'none') == 'none' and kind not in _ONE_PROCESS:
        raise ValueError(
            f'strategy {kind} needs several processes: tools/dist_train.sh CONFIG GPUS'
        )


def join_processes(cfg: Config) -> None:
    """Connect the processes of a distributed run on CPUs; on GPUs mmengine does it.

    Raises:
        ValueError: ``launcher`` did not start this process or needs GPUs, or the backend is not
            gloo.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise ArgumentError(
            'torchrun did not start this process; use tools/dist_train.sh or tools/dist_test.sh',
            launcher=launcher,
        )
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise ArgumentError('needs GPUs; on CPUs use tools/dist_train.sh', launcher=launcher)
    options = dict(cfg.get('env_cfg', {}).get('dist_cfg', {}))
    backend = options.pop('backend', 'nccl')
    if backend != 'gloo':
        raise ValueError(
            f'backend {backend} needs GPUs, and there is none; on CPUs set '
            'env_cfg.dist_cfg.backend=gloo'
        )
    _wrap_without_gpus(cfg)
    if not distributed.is_initialized():
        if 'timeout' in options:
            options['timeout'] = datetime.timedelta(seconds=options['timeout'])
        distributed.init_process_group(backend, **options)


def _wrap_without_gpus(cfg: Config) -> None:
    """Give model wrappers no GPU; mmengine would assign one by local rank."""
    strategy = cfg.get('strategy') if 'runner_type' in cfg else None
    if strategy is None:
        wrapper = cfg.get('model_wrapper_cfg') or {
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
        }
        cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}
    else:
        strategy.model_wrapper = {**strategy.get('model_wrapper', {}), 'device_ids': None}
