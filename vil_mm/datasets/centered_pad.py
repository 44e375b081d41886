"""Padding of training crops to one size, evenly on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CenteredPad(BaseTransform):
    """Pad image and label maps to a size, half of it on each side; no random numbers.

    mmcv's ``Pad`` and mmseg's ``SegDataPreProcessor`` pad at the bottom and the right only. The
    upper and the left side get ``missing // 2`` pixels, so an odd pixel goes to the bottom or the
    right. Padded pixels of the image hold the mean pixel: normalisation turns them into exactly 0,
    and since no mean is a whole number a padded image is float32. Images that lack nothing pass as
    they are, whatever their type.

    Required keys: ``img`` ``(H, W, 3)`` in the order BGR, and the maps ``(H, W)`` that
    ``seg_fields`` names. Changed: these and ``img_shape``. Added: ``pad_shape``.

    Args:
        size: Least height and width after padding.
        mean: The ``mean`` of the model's data preprocessor, in the order RGB.
        seg_pad_val: What padded pixels of label maps hold, the ignored class.

    Raises:
        ValueError: ``mean`` is not one value for each of three channels, or an image has not
            three channels.
    """

    def __init__(
        self, size: tuple[int, int], mean: Sequence[float], seg_pad_val: int = 255
    ) -> None:
        if len(mean) != 3:
            raise ValueError(f'CenteredPad: mean has to name R, G and B, got {mean}')
        self.size = size
        self.mean = mean
        self.seg_pad_val = seg_pad_val

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'CenteredPad takes images of shape (H, W, 3), got {image.shape}')
        sides = [_split(size - have) for size, have in zip(self.size, image.shape, strict=False)]
        if any(map(any, sides)):
            results['img'] = _pad(image.astype(np.float32), sides, self.mean[::-1])
            for key in results.get('seg_fields', []):
                results[key] = _pad(results[key], sides, self.seg_pad_val)
        results['img_shape'] = results['pad_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, mean={self.mean}, '
            f'seg_pad_val={self.seg_pad_val})'
        )


def _split(missing: int) -> tuple[int, int]:
    """Pixels before and after."""
    missing = max(missing, 0)
    return missing // 2, missing - missing // 2


def _pad(
    array: np.ndarray, sides: list[tuple[int, int]], value: float | Sequence[float]
) -> np.ndarray:
    (top, bottom), (left, right) = sides
    height, width = array.shape[:2]
    shape = (top + height + bottom, left + width + right, *array.shape[2:])
    padded = np.full(shape, value, dtype=array.dtype)
    padded[top : top + height, left : left + width] = array
    return padded
