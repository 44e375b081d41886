"""Label maps of images of any size, from windows, holding only a band of logits in memory.

Windows and the averaging of overlaps are those of mmsegmentation's slide inference. Each row of
windows is added to the band; rows that no later window touches are averaged, resized and turned
into labels at once. They are processed in blocks ``(R, K, W)`` of R rows and K classes, from the
top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from vil_mm.progress import Progress, no_progress

Box = tuple[int, int, int, int]  # top, bottom, left, right
Size = tuple[int, int]

BLOCK_ELEMENTS = 2**22  # logits that leave the band at a time, 16 MiB in float32


@dataclass(frozen=True)
class Tiling:
    """Sizes of windows, in pixels.

    Attributes:
        crop_size: (h, w) of a window; a smaller image is one window.
        stride: (y, x) from one window to the next; the last of a row or column is shifted inward.
        batch_size: Windows per forward pass.

    Raises:
        ValueError: A number is below 1, or there are gaps between windows.
    """

    crop_size: Size
    stride: Size
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or min(*self.crop_size, *self.stride) < 1:
            raise ValueError(f'tiles need sizes of at least 1, got {self}')
        if self.stride[0] > self.crop_size[0] or self.stride[1] > self.crop_size[1]:
            raise ValueError(
                f'stride {self.stride} is larger than crop_size {self.crop_size}: pixels between '
                'windows would have no prediction'
            )

    def starts(self, size: Size) -> tuple[list[int], list[int]]:
        """Tops and left edges of the windows of an image ``(H, W)``."""
        tops, lefts = (
            [min(i * stride, max(length - crop, 0)) for i in range(_steps(length, crop, stride))]
            for length, crop, stride in zip(size, self.crop_size, self.stride, strict=True)
        )
        return tops, lefts

    def count(self, size: Size) -> int:
        """Number of windows of an image ``(H, W)``."""
        tops, lefts = self.starts(size)
        return len(tops) * len(lefts)

    @property
    def transposed(self) -> Tiling:
        """The tiling of the transposed image."""
        return Tiling(self.crop_size[::-1], self.stride[::-1], self.batch_size)


def _steps(length: int, crop: int, stride: int) -> int:
    return max(length - crop + stride - 1, 0) // stride + 1


def tiled_argmax(
    image: Tensor, predict: Callable[[Tensor], Tensor], tiling: Tiling, **options
) -> Tensor:
    """Predict labels of an image of any size by a model that sees windows of it.

    Args:
        image: ``(C, H, W)``, any dtype, on any device, or memory-mapped.
        predict: Maps windows ``(N, C, h, w)`` of the image to logits ``(N, K, h, w)``.
        tiling: Sizes of the windows.
        options: Keyword arguments of :func:`predict_windows`.

    Returns:
        ``(H, W)`` or ``out_size``, see :func:`predict_windows`.

    Raises:
        ValueError: The image has other axes, or as in :func:`predict_windows`.
    """
    if image.dim() != 3:
        raise ValueError(
            f'tiled_argmax takes one image (C, H, W), got the shape {tuple(image.shape)}; for a '
            'batch call it once per image'
        )

    def predict_boxes(boxes: Sequence[Box]) -> Tensor:
        windows = [image[:, top:bottom, left:right] for top, bottom, left, right in boxes]
        return predict(torch.stack(windows))

    return predict_windows(tuple(image.shape[1:]), predict_boxes, tiling, **options)


@torch.no_grad()
def predict_windows(
    size: Size,
    predict: Callable[[Sequence[Box]], Tensor],
    tiling: Tiling,
    *,
    region: Box | None = None,
    out_size: Size | None = None,
    align_corners: bool = False,
    threshold: float = 0.5,
    progress: Progress = no_progress,
) -> Tensor:
    """Predict labels window by window, holding only the logits of a band of rows.

    The band has ``crop height * W * K`` numbers. An image more than twice as wide as high is read
    by columns instead, so that the band runs across the short side.

    Args:
        size: (H, W) of the whole, including padding.
        predict: Maps windows of equal size (top, bottom, left, right) to logits ``(N, K, h, w)``.
        tiling: Sizes of the windows.
        region: Part of the whole to keep (top, bottom, left, right); the rest is padding.
        out_size: (H', W') to which the region's logits are resized, bilinearly, before the argmax.
        align_corners: As in ``torch.nn.functional.interpolate``.
        threshold: For a single class: the probability above which a pixel is 1.
        progress: Progress callback.

    Returns:
        ``(H', W')`` on the device of the logits; uint8 for up to 255 classes, so that 255 stays
        free for "no class", else int16 or int32.

    Raises:
        ValueError: The logits do not have the size of the windows.
    """
    region = region or (0, size[0], 0, size[1])
    kept = (region[1] - region[0], region[3] - region[2])
    out_size = out_size or kept
    if size[1] > 2 * size[0]:
        return predict_windows(
            size[::-1],
            lambda boxes: predict([(*box[2:], *box[:2]) for box in boxes]).mT,
            tiling.transposed,
            region=(*region[2:], *region[:2]),
            out_size=out_size[::-1],
            align_corners=align_corners,
            threshold=threshold,
            progress=progress,
        ).T.contiguous()
    blocks = logit_rows(size, predict, tiling, progress)
    blocks = resize_rows(cut_rows(blocks, region), kept, out_size, align_corners)
    labels, done = None, 0
    for block in blocks:
        if labels is None:
            labels = torch.empty(out_size, dtype=_label_dtype(block.shape[1]), device=block.device)
        labels[done : done + len(block)] = _labels(block, threshold)
        done += len(block)
    return labels


def logit_rows(
    size: Size,
    predict: Callable[[Sequence[Box]], Tensor],
    tiling: Tiling,
    progress: Progress = no_progress,
) -> Iterator[Tensor]:
    """Yield averaged logits from top to bottom in blocks ``(R, K, W)``, as soon as they are final.

    Arguments as in :func:`predict_windows`.
    """
    (height, width), (tops, lefts) = size, tiling.starts(size)
    window = min(tiling.crop_size[0], height), min(tiling.crop_size[1], width)
    # the number of windows over a pixel is the product of one count by row and one by column
    in_row, in_column = _cover(tops, window[0], height), _cover(lefts, window[1], width)
    band, done, total = None, 0, len(tops) * len(lefts)
    for top, following in pairwise([*tops, height]):
        for first in range(0, len(lefts), tiling.batch_size):
            some = lefts[first : first + tiling.batch_size]
            logits = predict([(top, top + window[0], x, x + window[1]) for x in some])
            _check(logits, (len(some), *window))
            if band is None:
                dtype = torch.promote_types(logits.dtype, torch.float32)
                band = logits.new_zeros((window[0], logits.shape[1], width), dtype=dtype)
                in_row, in_column = in_row.to(band), in_column.to(band)
            _add(band, logits, top, some)
            done += len(some)
            progress('windows', done, total)
        yield from _finished(band, top, following, in_row, in_column)


def _cover(starts: list[int], window: int, length: int) -> Tensor:
    """Count the windows that cover each position of an axis."""
    count = torch.zeros(length)
    for start in starts:
        count[start : start + window] += 1
    return count


def _check(logits: Tensor, wanted: tuple[int, int, int]) -> None:
    count, height, width = wanted
    if logits.dim() != 4 or (len(logits), *logits.shape[2:]) != wanted:
        raise ValueError(
            f'{count} windows of {height}x{width} pixels need logits ({count}, K, {height}, '
            f'{width}), got {tuple(logits.shape)}'
        )


def _add(band: Tensor, logits: Tensor, top: int, lefts: list[int]) -> None:
    """Add windows to the band, in which row y of the image is at y modulo its height."""
    start = top % len(band)
    for window, left in zip(logits.transpose(1, 2), lefts, strict=True):
        columns = slice(left, left + window.shape[2])
        band[start:, :, columns] += window[: len(band) - start]
        band[:start, :, columns] += window[len(band) - start :]


def _finished(
    band: Tensor, top: int, bottom: int, in_row: Tensor, in_column: Tensor
) -> Iterator[Tensor]:
    """Yield averages of the rows from ``top`` to ``bottom``, and clear them in the band."""
    at_once = _rows_at_once(band[0].numel())
    while top < bottom:
        start = top % len(band)
        rows = min(at_once, bottom - top, len(band) - start)
        sums = band[start : start + rows]
        yield sums / (in_row[top : top + rows, None, None] * in_column)
        sums.zero_()
        top += rows


def cut_rows(blocks: Iterable[Tensor], region: Box) -> Iterator[Tensor]:
    """Crop consecutive blocks ``(R, K, W)`` to a region."""
    top, bottom, left, right = region
    first = 0
    for block in blocks:
        kept = block[max(top - first, 0) : max(bottom - first, 0), :, left:right]
        first += len(block)
        if len(kept):
            yield kept


def resize_rows(
    blocks: Iterable[Tensor], size: Size, out_size: Size, align_corners: bool
) -> Iterator[Tensor]:
    """Resize consecutive blocks ``(R, K, W)`` of ``(H, K, W)`` bilinearly to ``(H', K, W')``.

    A row of the result interpolates two neighbouring rows, so the last row of a block is kept for
    the next block.
    """
    if tuple(size) == tuple(out_size):
        yield from blocks
        return
    upper, weight = _sources(size[0], out_size[0], align_corners)
    lower = (upper + 1).clamp_max(size[0] - 1)
    kept, first, done = None, 0, 0
    for block in blocks:
        if block.shape[2] != out_size[1]:
            block = F.interpolate(block, out_size[1], mode='linear', align_corners=align_corners)
        rows = block if kept is None else torch.cat((kept, block))
        ready = int((lower < first + len(rows)).sum())
        at_once = _rows_at_once(rows[0].numel())
        for start in range(done, ready, at_once):
            some = slice(start, min(start + at_once, ready))
            share = weight[some, None, None].to(rows)
            above, below = (index[some].to(rows.device) - first for index in (upper, lower))
            yield (1 - share) * rows[above] + share * rows[below]
        done, first, kept = ready, first + len(rows) - 1, rows[-1:].clone()


def _sources(length: int, out_length: int, align_corners: bool) -> tuple[Tensor, Tensor]:
    """For each row of the result: the index of the row above, and the weight of the row below.

    Scale and position are rounded to float32, as in PyTorch: in long images this matters far more
    than the rounding of logits.
    """
    target = torch.arange(out_length, dtype=torch.float64)
    one = torch.tensor(1.0)
    if align_corners:
        position = target * ((length - 1) * one / max(out_length - 1, 1)).double()
    else:
        position = (target + 0.5) * (length * one / out_length).double() - 0.5
    position = position.clamp_min(0).float()
    upper = position.floor().clamp_max(length - 1)
    return upper.long(), position - upper


def _rows_at_once(numbers_in_a_row: int) -> int:
    return max(1, BLOCK_ELEMENTS // numbers_in_a_row)


def _labels(block: Tensor, threshold: float) -> Tensor:
    """Turn logits ``(R, K, W)`` into labels ``(R, W)``."""
    return block.argmax(1) if block.shape[1] > 1 else block[:, 0].sigmoid() > threshold


def _label_dtype(classes: int) -> torch.dtype:
    if classes <= 255:
        return torch.uint8
    return torch.int16 if classes <= 2**15 else torch.int32
