"""Additional log backends of a training: TensorBoard and Weights & Biases."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmengine.config import Config

# name in a config -> backend of mmengine's visualizer, required package
BACKENDS = {
    'tensorboard': ('TensorboardVisBackend', 'tensorboard'),
    'wandb': ('WandbVisBackend', 'wandb'),
}


def use_log_backends(cfg: Config) -> None:
    """Add the backends named by the config's ``log_to``, in place.

    ``log_to`` is 'tensorboard', 'wandb' or a list of them. A Weights & Biases run is named after
    the work dir.

    Raises:
        ValueError: A name is unknown, its package is not installed, or there is no visualizer.
    """
    names = cfg.get('log_to') or []
    for name in [names] if isinstance(names, str) else names:
        if name not in BACKENDS:
            raise ValueError(f'log_to={name!r} is unknown; choose one of {", ".join(BACKENDS)}')
        kind, package = BACKENDS[name]
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f'log_to={name!r} needs the package {package}: pip install {package}, or pip '
                "install 'vil_mm[log]'"
            )
        if not cfg.get('visualizer'):
            raise ValueError(f'log_to={name!r} needs a visualizer, but the config has none')
        backends = cfg.visualizer.setdefault('vis_backends', [])
        if kind not in [backend.get('type') for backend in backends]:
            options = {'init_kwargs': {'name': Path(cfg.work_dir).name}} if name == 'wandb' else {}
            cfg.visualizer.vis_backends = [*backends, {'type': kind, **options}]
