"""Read images as a pipeline does, and turn them into pictures for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from vil_mm.datasets.pixel_limit import check_pixels

NARROW = 20  # sides with this ratio may be resized to nothing
PERCENTILES = (2, 98)  # of a band, which become 0 and 255 in pictures
READING_ERRORS = (AssertionError, OSError, SyntaxError, ValueError, cv2.error)


class TooNarrowError(ValueError):
    """Nothing is left of an image when it is resized."""


def apply(transform: Callable[[dict], dict | None], data: dict) -> dict | None:
    """Apply a transform to a loaded image.

    Raises:
        TooNarrowError: Resizing leaves no pixel of the shorter side; the message names the file.
    """
    try:
        return transform(data)
    except cv2.error as error:
        height, width = data['img'].shape[:2]
        if max(height, width) < NARROW * min(height, width):
            raise
        raise TooNarrowError(
            f'{data.get("img_path", "the image")} has {width}x{height} pixels, too narrow for '
            f'{type(transform).__name__}: pad or crop it'
        ) from error


class Look(NamedTuple):
    """How to show an image: its channels and its range of values.

    Attributes:
        rgb: Channels shown as red, green and blue.
        limits: ``(3, 2)``, the values shown as 0 and 255 in each; None if values are 0 to 255.
    """

    rgb: Sequence[int]
    limits: np.ndarray | None

    def picture(self, image: np.ndarray) -> np.ndarray:
        """Turn an image ``(H, W, C)`` or ``(H, W)`` into a picture ``(H, W, 3)``, uint8, RGB."""
        image = image[..., None] if image.ndim == 2 else image
        shown = image[..., list(self.rgb)]
        if self.limits is not None:
            low, high = self.limits.T
            shown = (shown - low) * (255 / np.maximum(high - low, 1e-12))
        if shown.dtype != np.uint8:
            shown = np.rint(shown.clip(0, 255)).astype(np.uint8)
        return np.ascontiguousarray(shown)


class ImageReader:
    """Reads files by a pipeline's own loading transform.

    Pictures show three channels: those in ``rgb`` of ``LoadMultispectralImage``, or the first three
    as BGR for other loaders. Images with fewer channels show the first in grey. 8-bit values are
    shown unchanged; otherwise each channel is stretched so that its 2nd and 98th percentiles become
    0 and 255.

    Args:
        transforms: The built pipeline; its first transform that loads an image is used.

    Raises:
        ValueError: No transform loads images.
    """

    def __init__(self, transforms: Iterable[object]) -> None:
        for transform in transforms:
            name = type(transform).__name__
            if 'Load' in name and 'Annotation' not in name:
                self.loader: BaseTransform = transform
                return
        raise ValueError(
            'the pipeline has no transform that loads images, such as LoadImageFromFile'
        )

    @property
    def channels(self) -> int | None:
        """Channels of every image read; None if they depend on the file."""
        kind = getattr(self.loader, 'color_type', None) or ''
        if kind.startswith(('color', 'grayscale')):
            return 3 if kind.startswith('color') else 1
        bands = getattr(self.loader, 'bands', None)
        return len(bands) if bands else None

    @property
    def is_8_bit(self) -> bool:
        """Whether values are 0 to 255 for any file."""
        kind = getattr(self.loader, 'color_type', None) or ''
        return kind.startswith(('color', 'grayscale'))

    @property
    def converts_to_float(self) -> bool:
        """Whether images are float32 for any file."""
        return bool(getattr(self.loader, 'to_float32', False))

    def read(self, path: str) -> dict:
        """The loading transform's results: ``img`` ``(H, W, C)`` or ``(H, W)``, its shape, ....

        Raises:
            ValueError: The file is not an image, or has too many pixels; the message names it.
        """
        check_pixels(path)
        try:
            results = self.loader({'img_path': str(path)})
        except READING_ERRORS as error:
            if str(path) in str(error) and isinstance(error, ValueError | FileNotFoundError):
                raise
            raise ValueError(f'not an image, or a damaged one: {path}') from error
        if results is None or results.get('img') is None:
            raise ValueError(f'not an image, or a damaged one: {path}')
        return results

    def look(self, image: np.ndarray) -> Look:
        """How to show a loaded image ``(H, W, C)`` or ``(H, W)``."""
        channels = 1 if image.ndim == 2 else image.shape[2]
        rgb = getattr(self.loader, 'rgb', None)
        if rgb is None:
            in_order = getattr(self.loader, 'imdecode_backend', 'cv2') == 'tifffile'
            rgb = (0, 1, 2) if in_order else (2, 1, 0)
        if channels < 3 or max(rgb) >= channels:
            rgb = (0, 0, 0) if channels < 3 else (0, 1, 2)
        if image.dtype == np.uint8 or self.is_8_bit:
            return Look(rgb, None)
        shown = (image[..., None] if image.ndim == 2 else image)[..., list(rgb)]
        return Look(rgb, np.percentile(shown.reshape(-1, 3), PERCENTILES, axis=0).T)

    def picture(self, image: np.ndarray) -> np.ndarray:
        """Turn a loaded image into a picture ``(H, W, 3)``, uint8, RGB."""
        return self.look(image).picture(image)


def find_reader(dataset: object) -> ImageReader:
    """The reader of a data set, or of the first data set in a wrapper such as ``ConcatDataset``.

    Raises:
        ValueError: The pipeline loads no images.
    """
    while not hasattr(dataset, 'pipeline'):
        dataset = dataset.datasets[0] if hasattr(dataset, 'datasets') else dataset.dataset
    return ImageReader(getattr(dataset.pipeline, 'transforms', [dataset.pipeline]))
