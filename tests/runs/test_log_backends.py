"""The backends that log_to adds."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from vil_mm.runs.log_backends import use_log_backends


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
    with pytest.raises(ValueError, match="'clearml' is unknown; choose one of tensorboard"):
        use_log_backends(config(log_to='clearml'))
    with pytest.raises(ValueError, match='needs a visualizer'):
        use_log_backends(config(log_to='wandb', visualizer=None))
    monkeypatch.setattr('importlib.util.find_spec', lambda _: None)
    with pytest.raises(ValueError, match=r'pip install tensorboard, or pip install .vil_mm\[log\]'):
        use_log_backends(config(log_to='tensorboard'))
