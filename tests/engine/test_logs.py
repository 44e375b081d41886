"""Images per second and memory in the log."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.logging import HistoryBuffer
from mmengine.registry import LOG_PROCESSORS

from vil_mm.engine import logs
from vil_mm.engine.logs import peak_resident

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
