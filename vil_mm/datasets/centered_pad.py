"""Pad training crops to one size, evenly on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CenteredPad(BaseTransform):
    """Pad the image and label maps to a size, evenly on both sides.

    mmcv's ``Pad`` and mmseg's ``SegDataPreProcessor`` pad at the bottom and right only. If the
    padding is odd, the extra pixel goes to the bottom or right. The image is padded with the mean
    pixel, which normalisation turns into exactly 0; a padded image is float32, since means are not
    whole numbers. Images that are large enough pass unchanged, whatever their dtype.

    Required keys: ``img`` ``(H, W, C)`` or ``(H, W)``, and the maps ``(H, W)`` listed in
    ``seg_fields``. Changed: these and ``img_shape``. Added: ``pad_shape``.

    Args:
        size: Minimum height and width after padding.
        mean: The ``mean`` of the model's data preprocessor, one value per channel.
        seg_pad_val: Label of padded pixels, the ignored class.
        bgr_to_rgb: As in the data preprocessor: three-channel images are BGR and ``mean`` is RGB.

    Raises:
        ValueError: ``mean`` does not have one value per channel of an image.
    """

    def __init__(
        self,
        size: tuple[int, int],
        mean: Sequence[float],
        seg_pad_val: int = 255,
        bgr_to_rgb: bool = True,
    ) -> None:
        self.size = size
        self.mean = mean
        self.seg_pad_val = seg_pad_val
        self.bgr_to_rgb = bgr_to_rgb

    def transform(self, results: dict) -> dict:
        image = results['img']
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels != len(self.mean):
            raise ValueError(
                f'CenteredPad: mean has {len(self.mean)} values, but the image has {channels} '
                'channels; take the mean of the data preprocessor'
            )
        sides = [_split(size - have) for size, have in zip(self.size, image.shape, strict=False)]
        if any(map(any, sides)):
            fill = self.mean[::-1] if self.bgr_to_rgb and channels == 3 else self.mean
            fill = fill[0] if image.ndim == 2 else fill
            results['img'] = _pad(image.astype(np.float32), sides, fill)
            for key in results.get('seg_fields', []):
                results[key] = _pad(results[key], sides, self.seg_pad_val)
        results['img_shape'] = results['pad_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, mean={self.mean}, '
            f'seg_pad_val={self.seg_pad_val}, bgr_to_rgb={self.bgr_to_rgb})'
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
