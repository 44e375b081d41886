"""Label maps: one class per pixel."""

from __future__ import annotations

import cv2
import numpy as np

# The label that mmseg's reduce_zero_label and IoUMetric use for pixels without a class.
IGNORE_INDEX = 255


def resize_nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a label map ``(H, W)`` to ``size`` (rows, columns): the pixel nearest each centre."""
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
