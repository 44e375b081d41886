"""Sizes and length of a training, by the device and by how much data there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

PATCH = 16  # crops are whole patches
# A ViL-T with a narrow decoder learns from a crop of 160x208 pixels in about 0.6 s of one CPU core.
CPU_AREA, GPU_AREA = 160 * 208, 512 * 512
SHORT_SIDE = {'cpu': (128, 192), 'gpu': (256, 512)}  # photos are scaled into this range
ASPECTS = (0.5, 2.0)  # of the crop


@dataclass(frozen=True)
class Schedule:
    """What is trained, for how long.

    Attributes:
        short_side: To which photos are scaled, in pixels.
        crop_size: Rows and columns of what the model sees in training.
        batch_size: Crops of an update.
        max_iters: Updates.
        base_lr: Learning rate after the warm-up.
        warmup_iters: Updates until then.
        val_interval: Updates between validations.
        num_workers: Processes that load photos.
    """

    short_side: int
    crop_size: tuple[int, int]
    batch_size: int
    max_iters: int
    base_lr: float
    warmup_iters: int
    val_interval: int
    num_workers: int


def plan_schedule(
    sizes: Sequence[tuple[int, int]],
    num_train: int,
    *,
    on_cpu: bool,
    from_segmentor: bool,
    pretrained: bool,
    max_iters: int | None = None,
    crop_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> Schedule:
    """Choose a schedule.

    On a CPU a set of a dozen photos takes some minutes from a segmentor, twice as long from a
    backbone or from nothing; on a GPU there are more updates of larger crops.

    Args:
        sizes: Width and height of the photos.
        num_train: How many of them are trained on.
        on_cpu: Whether there is no GPU.
        from_segmentor: Whether the decoder is trained already.
        pretrained: Whether the backbone is.
        max_iters, crop_size, batch_size: The user's own; None to choose.
    """
    kind = 'cpu' if on_cpu else 'gpu'
    low, high = SHORT_SIDE[kind]
    short_side = _whole(min(max(median(min(size) for size in sizes), low), high))
    batch_size = batch_size or (4 if on_cpu else 8)
    epochs, least, most = (30, 200, 1000) if on_cpu else (60, 1000, 20000)
    iters = min(max(epochs * num_train // batch_size, least), most)
    iters = max_iters or (iters if from_segmentor else 2 * iters)
    return Schedule(
        short_side=short_side,
        crop_size=crop_size or _crop(sizes, short_side, CPU_AREA if on_cpu else GPU_AREA),
        batch_size=batch_size,
        max_iters=iters,
        base_lr=5e-4 if pretrained else 1e-3,
        warmup_iters=min(50 if on_cpu else 500, iters // 10),
        val_interval=max(1, iters // (2 if on_cpu else 10)),
        num_workers=1 if on_cpu else 4,
    )


def _crop(sizes: Sequence[tuple[int, int]], short_side: int, area: int) -> tuple[int, int]:
    """Rows and columns: the shape of most photos, no larger than they are and than ``area``."""
    aspect = min(max(median(width / height for width, height in sizes), ASPECTS[0]), ASPECTS[1])
    rows = short_side if aspect >= 1 else short_side / aspect
    columns = rows * aspect
    shrink = min(1.0, math.sqrt(area / (rows * columns)))
    return _whole(rows * shrink), _whole(columns * shrink)


def _whole(side: float) -> int:
    """The nearest number of whole patches, in pixels."""
    return max(PATCH, PATCH * round(side / PATCH))
