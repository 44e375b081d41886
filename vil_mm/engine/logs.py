"""Training logs: images per second and memory."""

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

    Images per second are those of all processes divided by the mean iteration ``time`` on the same
    line; with gradient accumulation, an iteration is one batch, not one update. Memory is a peak in
    MiB: on a GPU mmengine logs the maximum allocated by PyTorch in any process; on a CPU this logs
    the peak resident set of this process, without data loader workers.
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
    """Peak resident set of this process in MiB."""
    unit = 2**20 if sys.platform == 'darwin' else 2**10  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def _images_per_iteration(loader: object) -> int | None:
    """Images per iteration over all processes; None if a loader has no known batch size."""
    size = getattr(loader, 'batch_size', None)
    size = size or getattr(getattr(loader, 'batch_sampler', None), 'batch_size', None)
    return size * get_world_size() if size else None
