"""Images per second and memory in the log; the backends that log_to adds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import LOG_PROCESSORS

from vil_mm.engine import logs
from vil_mm.engine.logs import peak_resident, use_log_backends

SCALARS = {'train/loss': [2.0], 'train/time': [0.5, 1.5], 'train/data_time': [0.1, 0.1]}


def runner_with(loader: SimpleNamespace) -> SimpleNamespace:
    """As much of a runner as a log processor asks for, after two iterations of 1 s on average."""
    scalars = {name: HistoryBuffer(values, [1] * len(values)) for name, values in SCALARS.items()}
    hub = SimpleNamespace(log_scalars=scalars, runtime_info={'eta': 60}, get_info=lambda _: 60)
    return SimpleNamespace(
        message_hub=hub, train_dataloader=loader, iter=1, max_iters=10, _train_loop=object()
    )


def processor(**options) -> logs.ThroughputLogProcessor:
    return LOG_PROCESSORS.build(dict(type='ThroughputLogProcessor', by_epoch=False, **options))


def test_all_processes_count(monkeypatch) -> None:
    monkeypatch.setattr(logs, 'get_world_size', lambda: 3)
    runner = runner_with(SimpleNamespace(batch_size=4))
    tag, line = processor().get_log_after_iter(runner, 1, 'train')
    assert tag['images_per_s'] == pytest.approx(4 * 3 / 1.0)
    assert 'images/s: 12.0' in line and 'eta: 0:01:00' in line


def test_window_is_that_of_the_time() -> None:
    runner = runner_with(SimpleNamespace(batch_size=4))
    tag, _ = processor(window_size=1).get_log_after_iter(runner, 1, 'train')
    assert tag['images_per_s'] == pytest.approx(4 / 1.5)
    tag, _ = processor(log_with_hierarchy=True).get_log_after_iter(runner, 1, 'train')
    assert tag['train/images_per_s'] == pytest.approx(4)


def test_batch_sampler_tells_the_batch_too() -> None:
    """As the one of mmdet that groups images by their aspect ratio."""
    sampler = SimpleNamespace(batch_size=2)
    tag, _ = processor().get_log_after_iter(
        runner_with(SimpleNamespace(batch_size=None, batch_sampler=sampler)), 1, 'train'
    )
    assert tag['images_per_s'] == pytest.approx(2)
    tag, line = processor().get_log_after_iter(
        runner_with(SimpleNamespace(batch_size=None)), 1, 'train'
    )
    assert 'images_per_s' not in tag and 'images/s' not in line


def test_memory_on_a_cpu(monkeypatch) -> None:
    monkeypatch.setattr(logs, 'is_cuda_available', lambda: False)
    runner = runner_with(SimpleNamespace(batch_size=4))
    tag, line = processor().get_log_after_iter(runner, 1, 'train')
    assert 100 < tag['memory'] <= peak_resident(), 'MiB of a process that has imported PyTorch'
    assert line.endswith(f'memory: {tag["memory"]}')


def config(**options) -> Config:
    visualizer = {'type': 'SegPanelVisualizer', 'vis_backends': [{'type': 'LocalVisBackend'}]}
    return Config({'visualizer': visualizer, 'work_dir': 'work_dirs/run_7', **options})


def test_backends_join_those_of_the_config() -> None:
    cfg = config(log_to=['tensorboard', 'wandb'])
    for _ in range(2):  # adds nothing the second time
        use_log_backends(cfg)
        kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
        assert kinds == ['LocalVisBackend', 'TensorboardVisBackend', 'WandbVisBackend']
    assert cfg.visualizer.vis_backends[2].init_kwargs.name == 'run_7'
    for nothing in ({}, {'log_to': []}, {'log_to': None}):
        use_log_backends(cfg := config(**nothing))
        assert len(cfg.visualizer.vis_backends) == 1


def test_what_cannot_log(monkeypatch) -> None:
    with pytest.raises(ValueError, match="'clearml' is not known; choose one of tensorboard"):
        use_log_backends(config(log_to='clearml'))
    with pytest.raises(ValueError, match='needs a visualizer'):
        use_log_backends(config(log_to='wandb', visualizer=None))
    monkeypatch.setattr(logs.importlib.util, 'find_spec', lambda _: None)
    with pytest.raises(ValueError, match=r'pip install tensorboard, or pip install .vil_mm\[log\]'):
        use_log_backends(config(log_to='tensorboard'))
