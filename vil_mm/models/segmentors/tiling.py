"""Label maps of images of any size: windows, of which only a band of logits is ever held.

Windows are those of mmsegmentation's slide inference, and so is the average where they overlap. A
row of windows is added to the band; rows that no later window touches are averaged, resized and
turned into labels at once. Blocks on this way are ``(R, K, W)``: R rows of K classes, from the top.
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

BLOCK_ELEMENTS = 2**22  # of logits that leave the band at a time, 16 MiB in float32


@dataclass(frozen=True)
class Tiling:
    """Sizes of windows, in pixels.

    Attributes:
        crop_size: (h, w) of a window; an image that is smaller is one window.
        stride: (y, x) from one window to the next; the last of a row or column is shifted inward.
        batch_size: Windows that the model gets at once.

    Raises:
        ValueError: A number is below 1, or windows would leave gaps.
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
    def turned(self) -> Tiling:
        """That of the transposed image."""
        return Tiling(self.crop_size[::-1], self.stride[::-1], self.batch_size)


def _steps(length: int, crop: int, stride: int) -> int:
    return max(length - crop + stride - 1, 0) // stride + 1


def tiled_argmax(
    image: Tensor, predict: Callable[[Tensor], Tensor], tiling: Tiling, **options
) -> Tensor:
    """Labels of an image of any size from a model that sees windows of it.

    Args:
        image: ``(C, H, W)``, any dtype, on any device; a file mapped into memory, too.
        predict: Windows ``(N, C, h, w)``, as they are in the image, to logits ``(N, K, h, w)``.
        tiling: Sizes of the windows.
        options: Of :func:`labels_of_windows`.

    Returns:
        ``(H, W)`` or of the size asked for, see :func:`labels_of_windows`.

    Raises:
        ValueError: The image has other axes, or as of :func:`labels_of_windows`.
    """
    if image.dim() != 3:
        raise ValueError(
            f'tiled_argmax takes one image (C, H, W), got the shape {tuple(image.shape)}; of a '
            'batch call it for each image'
        )

    def logits_of(boxes: Sequence[Box]) -> Tensor:
        windows = [image[:, top:bottom, left:right] for top, bottom, left, right in boxes]
        return predict(torch.stack(windows))

    return labels_of_windows(tuple(image.shape[1:]), logits_of, tiling, **options)


@torch.no_grad()
def labels_of_windows(
    size: Size,
    logits_of: Callable[[Sequence[Box]], Tensor],
    tiling: Tiling,
    *,
    region: Box | None = None,
    out_size: Size | None = None,
    align_corners: bool = False,
    threshold: float = 0.5,
    progress: Progress = no_progress,
) -> Tensor:
    """Labels of what a function of windows predicts, in memory for a band of rows of logits.

    The band has ``crop height * W * K`` numbers. An image more than twice as wide as high is read
    by columns instead, so that the band goes across the strip.

    Args:
        size: (H, W) of the whole, padding included.
        logits_of: Windows of one size (top, bottom, left, right) to logits ``(N, K, h, w)``.
        tiling: Sizes of the windows.
        region: Part of the whole that is kept (top, bottom, left, right); the rest is padding.
        out_size: (H', W') that logits of the region are resized to, bilinearly, before the choice.
        align_corners: As in ``torch.nn.functional.interpolate``.
        threshold: Of one class alone: the probability above which a pixel is 1.
        progress: Told how far it is.

    Returns:
        ``(H', W')`` on the device of the logits; uint8 for up to 255 classes, so that 255 stays
        free for "no class", else int16 or int32.

    Raises:
        ValueError: Logits are not of the windows' size.
    """
    region = region or (0, size[0], 0, size[1])
    kept = (region[1] - region[0], region[3] - region[2])
    out_size = out_size or kept
    if size[1] > 2 * size[0]:
        return labels_of_windows(
            size[::-1],
            lambda boxes: logits_of([(*box[2:], *box[:2]) for box in boxes]).mT,
            tiling.turned,
            region=(*region[2:], *region[:2]),
            out_size=out_size[::-1],
            align_corners=align_corners,
            threshold=threshold,
            progress=progress,
        ).T.contiguous()
    blocks = logit_rows(size, logits_of, tiling, progress)
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
    logits_of: Callable[[Sequence[Box]], Tensor],
    tiling: Tiling,
    progress: Progress = no_progress,
) -> Iterator[Tensor]:
    """Averaged logits from top to bottom in blocks ``(R, K, W)``, each as soon as it is final.

    Arguments as in :func:`labels_of_windows`.
    """
    (height, width), (tops, lefts) = size, tiling.starts(size)
    window = min(tiling.crop_size[0], height), min(tiling.crop_size[1], width)
    # how many windows cover a pixel is the product of two counts, one a row and one a column
    in_row, in_column = _cover(tops, window[0], height), _cover(lefts, window[1], width)
    band, done, total = None, 0, len(tops) * len(lefts)
    for top, following in pairwise([*tops, height]):
        for first in range(0, len(lefts), tiling.batch_size):
            some = lefts[first : first + tiling.batch_size]
            logits = logits_of([(top, top + window[0], x, x + window[1]) for x in some])
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
    """How many windows cover each position of an axis."""
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
    turn = top % len(band)
    for window, left in zip(logits.transpose(1, 2), lefts, strict=True):
        columns = slice(left, left + window.shape[2])
        band[turn:, :, columns] += window[: len(band) - turn]
        band[:turn, :, columns] += window[len(band) - turn :]


def _finished(
    band: Tensor, top: int, bottom: int, in_row: Tensor, in_column: Tensor
) -> Iterator[Tensor]:
    """Averages of rows from ``top`` to ``bottom``, whose places in the band are emptied."""
    at_once = _rows_at_once(band[0].numel())
    while top < bottom:
        place = top % len(band)
        rows = min(at_once, bottom - top, len(band) - place)
        sums = band[place : place + rows]
        yield sums / (in_row[top : top + rows, None, None] * in_column)
        sums.zero_()
        top += rows


def cut_rows(blocks: Iterable[Tensor], region: Box) -> Iterator[Tensor]:
    """Of blocks ``(R, K, W)`` that follow each other, the part in a region."""
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
    """Resize blocks ``(R, K, W)`` that make up ``(H, K, W)`` bilinearly to ``(H', K, W')``.

    A row of the result lies between two neighbouring rows; the last row of a block is kept for
    those that lie between it and the next.
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
    """Rows above those of the result, and the shares of the rows below.

    The scale and the position are rounded to float32, as PyTorch does: in long images that matters
    far more than the rounding of logits.
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
    """``(R, K, W)`` logits to ``(R, W)`` labels."""
    return block.argmax(1) if block.shape[1] > 1 else block[:, 0].sigmoid() > threshold


def _label_dtype(classes: int) -> torch.dtype:
    if classes <= 255:
        return torch.uint8
    return torch.int16 if classes <= 2**15 else torch.int32
