"""Images with any number of bands: TIFF files of 8, 16 or 32 bits, grey and RGBA images."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import cv2
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from vil_mm.datasets.pixel_limit import TooManyPixelsError, check_count, check_pixels
from vil_mm.errors import first_line

MAX_BANDS = 16  # pages narrower than this are rows of pixels, not images
TIFF_SIGNATURES = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # of TIFF and BigTIFF


@TRANSFORMS.register_module()
class LoadMultispectralImage(BaseTransform):
    """Load all bands of an image at full depth, in the file's order.

    The package ``tifffile`` reads TIFF files, whether bands are interleaved by pixel, planar or
    stored as pages; OpenCV reads other formats, with red first. mmcv's ``LoadImageFromFile``
    silently reduces most of these files to three bands of 8 bits.

    Required key: ``img_path``. Added: ``img`` ``(H, W, C)``, uint8 from 8-bit files and float32
    (values unchanged) from all others; ``img_shape`` and ``ori_shape``.

    Args:
        bands: Bands to load, counted from 0, in the order the model sees; None for all.
        rgb: The loaded bands, counted from 0, that pictures show as red, green and blue. Pictures
            of images with fewer than three bands show the first in grey.
        backend_args: As in ``LoadImageFromFile``.

    Raises:
        ValueError: The file is not an image, lacks a band, or holds values that are not finite; the
            message names the file.
    """

    def __init__(
        self,
        bands: Sequence[int] | None = None,
        rgb: Sequence[int] = (0, 1, 2),
        backend_args: dict | None = None,
    ) -> None:
        if len(rgb) != 3 or min(rgb) < 0:
            raise ValueError(f'LoadMultispectralImage: rgb must name three bands, got {rgb}')
        if bands is not None and (not len(bands) or min(bands) < 0):
            raise ValueError(
                f'LoadMultispectralImage: bands are counted from 0, got {bands}; leave it out to '
                'load all'
            )
        self.bands = bands
        self.rgb = tuple(rgb)
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        image = read_bands(fileio.get(path, backend_args=self.backend_args), path)
        if self.bands is not None:
            if max(self.bands) >= image.shape[2]:
                raise ValueError(
                    f'{path} has {image.shape[2]} bands, counted from 0: LoadMultispectralImage '
                    f'cannot load bands={list(self.bands)}'
                )
            image = np.ascontiguousarray(image[..., list(self.bands)])
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(bands={self.bands}, rgb={self.rgb})'


def read_bands(content: bytes, path: str) -> np.ndarray:
    """Decode a file to ``(H, W, C)``: uint8, or float32 with the same values.

    Args:
        content: The file's bytes.
        path: The file's name, for messages.

    Raises:
        ValueError: The file is not an image, has too many pixels or an unsupported type of them, or
            holds values that are not finite.
    """
    check_pixels(content, path)
    if content[:4] in TIFF_SIGNATURES:
        image = _read_tiff(content, path)
    else:
        image = _read_other(content, path)
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype.kind not in 'buif':
        raise ValueError(f'{path}: pixels of type {image.dtype} are not supported')
    image = np.ascontiguousarray(image, dtype=np.float32)
    if not np.isfinite(image).all():
        raise ValueError(
            f'{path}: {np.count_nonzero(~np.isfinite(image))} values are NaN or infinite; replace '
            "them in the file, for example by their band's mean"
        )
    return image


def _read_tiff(content: bytes, path: str) -> np.ndarray:
    try:
        import tifffile
    except ImportError:
        raise ValueError(
            f'{path}: LoadMultispectralImage reads TIFF files with the package tifffile: '
            'pip install tifffile'
        ) from None
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            check_count(math.prod(file.series[0].shape), path)
            axes, image = file.series[0].axes, file.series[0].asarray()
            # tifffile.imwrite(path, image) of (H, W, C) without planarconfig makes H pages
            if file.is_shaped and len(axes) == 3 and axes.endswith('YX') and _has_bands_last(image):
                axes = 'YXS'
    except TooManyPixelsError:
        raise
    except Exception as error:  # tifffile and its codecs raise errors of any type
        raise ValueError(f'not an image, or a damaged one: {path} ({first_line(error)})') from error
    return _bands_last(axes, image, path)


def _has_bands_last(image: np.ndarray) -> bool:
    """Whether the last of three axes holds bands: it is short, and the shortest."""
    return image.shape[2] < MAX_BANDS and image.shape[2] < min(image.shape[:2])


def _bands_last(axes: str, image: np.ndarray, path: str) -> np.ndarray:
    """``(H, W, C)`` from an array with tifffile's axes: Y, X, and at most one of bands."""
    others = [i for i, axis in enumerate(axes) if axis not in 'YX' and image.shape[i] > 1]
    if 'Y' not in axes or 'X' not in axes or len(others) > 1:
        sizes = ', '.join(f'{axis}={n}' for axis, n in zip(axes, image.shape, strict=True))
        raise ValueError(f'{path} does not hold a single image: its axes are {sizes}')
    order = [axes.index('Y'), axes.index('X'), *others]
    rest = [i for i in range(image.ndim) if i not in order]
    image = image.transpose(*order, *rest)
    return image.reshape(*image.shape[:2], -1)


def _read_other(content: bytes, path: str) -> np.ndarray:
    encoded = np.frombuffer(content, np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if content else None
    if image is None:
        raise ValueError(f'not an image, or a damaged one: {path}')
    if image.ndim == 2:
        return image[..., None]
    return image[..., [2, 1, 0, *range(3, image.shape[2])]] if image.shape[2] > 2 else image
