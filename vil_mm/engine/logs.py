"""What a training logs: images per second and memory."""

from __future__ import annotations

import resource
import sys

from mmengine.device import is_cuda_available, is_musa_available
from mmengine.dist import get_world_size
from mmengine.registry import LOG_PROCESSORS
from mmengine.runner import LogProcessor, Runner


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


def _images_per_iteration(loader: object) -> int | None:
    """Images of all processes' batches; None where a loader does not tell its batch."""
    size = getattr(loader, 'batch_size', None)
    size = size or getattr(getattr(loader, 'batch_sampler', None), 'batch_size', None)
    return size * get_world_size() if size else None
