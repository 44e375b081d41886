"""Choose image sizes and training length by device and amount of data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

PATCH = 16  # crops are whole patches
# One CPU core needs about 0.6 s to train ViL-T with a narrow decoder on a crop of 160x208 pixels.
CPU_AREA, GPU_AREA = 160 * 208, 512 * 512
SHORT_SIDE = {'cpu': (128, 192), 'gpu': (256, 512)}  # photos are resized into this range
ASPECTS = (0.5, 2.0)  # of the crop


@dataclass(frozen=True)
class Schedule:
    """Sizes and length of a training.

    Attributes:
        short_side: Shorter side of the resized photos, in pixels.
        crop_size: Rows and columns of the training crops.
        batch_size: Crops per update.
        max_iters: Updates.
        base_lr: Learning rate after warm-up.
        warmup_iters: Updates of the warm-up.
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

    On a CPU, training on a dozen photos takes a few minutes from a segmentor, and twice as long
    from a backbone or from scratch. A GPU gets more updates and larger crops.

    Args:
        sizes: Width and height of each photo.
        num_train: Number of training photos.
        on_cpu: Whether there is no GPU.
        from_segmentor: Whether the decoder is pretrained.
        pretrained: Whether the backbone is pretrained.
        max_iters, crop_size, batch_size: The user's choice; None to choose here.
    """
    kind = 'cpu' if on_cpu else 'gpu'
    low, high = SHORT_SIDE[kind]
    short_side = _round_to_patches(min(max(median(min(size) for size in sizes), low), high))
    batch_size = batch_size or (4 if on_cpu else 8)
    epochs, least, most = (30, 200, 1000) if on_cpu else (60, 1000, 20000)
    iters = min(max(epochs * num_train // batch_size, least), most)
    iters = max_iters or (iters if from_segmentor else 2 * iters)
    return Schedule(
        short_side=short_side,
        crop_size=crop_size or _choose_crop(sizes, short_side, CPU_AREA if on_cpu else GPU_AREA),
        batch_size=batch_size,
        max_iters=iters,
        base_lr=5e-4 if pretrained else 1e-3,
        warmup_iters=min(50 if on_cpu else 500, iters // 10),
        val_interval=max(1, iters // (2 if on_cpu else 10)),
        num_workers=1 if on_cpu else 4,
    )


def _choose_crop(sizes: Sequence[tuple[int, int]], short_side: int, area: int) -> tuple[int, int]:
    """Rows and columns with the median aspect ratio, within ``short_side`` and ``area``."""
    aspect = min(max(median(width / height for width, height in sizes), ASPECTS[0]), ASPECTS[1])
    rows = short_side if aspect >= 1 else short_side / aspect
    columns = rows * aspect
    shrink = min(1.0, math.sqrt(area / (rows * columns)))
    return _round_to_patches(rows * shrink), _round_to_patches(columns * shrink)


def _round_to_patches(side: float) -> int:
    """The nearest multiple of the patch size, at least one patch."""
    return max(PATCH, PATCH * round(side / PATCH))
