"""What a training logs, and where to: images per second and memory; TensorBoard and W&B."""

from __future__ import annotations

import importlib.util
import resource
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.device import is_cuda_available, is_musa_available
from mmengine.dist import get_world_size
from mmengine.registry import LOG_PROCESSORS
from mmengine.runner import LogProcessor, Runner

# name in a config -> backend of mmengine's visualizer, package that it needs
BACKENDS = {
    'tensorboard': ('TensorboardVisBackend', 'tensorboard'),
    'wandb': ('WandbVisBackend', 'wandb'),
}


@LOG_PROCESSORS.register_module()
class ThroughputLogProcessor(LogProcessor):
    """mmengine's ``LogProcessor`` with images per second and, on a CPU, memory in training lines.

    Images per second are those of all processes over the mean ``time`` of an iteration in the same
    line. With gradient accumulation an iteration is one of the batches that make up an update, so
    that its images are counted once. Memory is, as on a GPU, a peak in MiB: there mmengine logs the
    largest that PyTorch has allocated in any process, here that of this process's resident set,
    without workers that load data.
    """

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Scalars for the backends, and the line; see mmengine."""
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        prefix = 'train/' if self.log_with_hierarchy else ''
        seconds = tag.get(f'{prefix}time')
        images = _images_per_iteration(runner.train_dataloader) if mode == 'train' else None
        if images and seconds:
            tag[f'{prefix}images_per_s'] = speed = images / seconds
            line += f'  images/s: {speed:.1f}'
        if mode == 'train' and not (is_cuda_available() or is_musa_available()):
            tag['memory'] = peak_resident()
            line += f'  memory: {tag["memory"]}'
        return tag, line


def peak_resident() -> int:
    """MiB of the largest resident set that this process has had."""
    unit = 2**20 if sys.platform == 'darwin' else 2**10  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def use_log_backends(cfg: Config) -> None:
    """Let a run log to what the config's ``log_to`` names, in place, beside what it has.

    ``log_to`` is 'tensorboard', 'wandb' or a list of them. A Weights & Biases run gets the name of
    the work dir.

    Raises:
        ValueError: A name is not known, its package is not installed, or there is no visualizer.
    """
    names = cfg.get('log_to') or []
    for name in [names] if isinstance(names, str) else names:
        if name not in BACKENDS:
            raise ValueError(f'log_to={name!r} is not known; choose one of {", ".join(BACKENDS)}')
        kind, package = BACKENDS[name]
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f'log_to={name!r} needs the package {package}: pip install {package}, or pip '
                "install 'vil_mm[log]'"
            )
        if not cfg.get('visualizer'):
            raise ValueError(f'log_to={name!r} needs a visualizer in the config, which has none')
        backends = cfg.visualizer.setdefault('vis_backends', [])
        if kind not in [backend.get('type') for backend in backends]:
            options = {'init_kwargs': {'name': Path(cfg.work_dir).name}} if name == 'wandb' else {}
            cfg.visualizer.vis_backends = [*backends, {'type': kind, **options}]


def _images_per_iteration(loader: object) -> int | None:
    """Images of all processes' batches; None where a loader does not tell its batch."""
    size = getattr(loader, 'batch_size', None)
    size = size or getattr(getattr(loader, 'batch_sampler', None), 'batch_size', None)
    return size * get_world_size() if size else None
