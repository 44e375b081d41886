"""Check a mask: its channels, bit depth, size and values."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from PIL import Image

from vil_mm.datasets.checks.findings import Finding, allowed_values, listed
from vil_mm.datasets.checks.parts import REMOTE, Part

ORIENTATION = 0x0112  # the EXIF tag


def raw_mask(load: BaseTransform, path: str) -> np.ndarray:
    """Decode a mask without casting it to 8 bits."""
    content = fileio.get(path, backend_args=getattr(load, 'backend_args', None))
    backend = getattr(load, 'imdecode_backend', 'pillow')
    raw = mmcv.imfrombytes(content, flag='unchanged', backend=backend)
    if raw is None:
        raise ValueError('no image')
    return raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw


def check_raw(path: str, raw: np.ndarray, image: str) -> Iterator[Finding]:
    """Check the channels and bit depth of a mask."""
    if raw.ndim == 3:
        yield Finding('colour masks', *_colours(path, raw, image))
    elif raw.dtype.kind == 'f' and not np.array_equal(raw, np.round(raw)):
        yield Finding(
            'fractions',
            f'{path} holds fractions ({listed(np.unique(raw), 4)})',
            'a pixel has to hold the number of its class: save one channel of 8 bits',
        )
    elif raw.size and (raw.max() > 255 or raw.min() < 0):
        yield Finding(
            'deep masks',
            f'{path} has values of more than 8 bits ({raw.dtype}, {raw.min()} to {raw.max()}), '
            'which would be read modulo 256',
            'save the numbers of classes, 0 to 255, as PNG of 8 bits',
        )
    elif raw.dtype.itemsize > 1:
        yield Finding(
            'wide masks',
            f'{path} is a mask of {8 * raw.dtype.itemsize} bits, whose values fit into 8',
            'it is read correctly; an 8-bit PNG is smaller and what other tools expect',
            fatal=False,
        )


def count_values(values: np.ndarray) -> np.ndarray:
    """Count each of 256 values ``(256,)``; OpenCV does this without a copy."""
    values = np.ascontiguousarray(values, np.uint8)
    return cv2.calcHist([values], [0], None, [256], [0, 256]).ravel().astype(np.int64)


def present(values: np.ndarray) -> np.ndarray:
    """The values that occur, sorted."""
    is_small = values.dtype in (np.uint8, bool) and values.size
    return np.flatnonzero(count_values(values)) if is_small else np.unique(values)


def _colours(path: str, raw: np.ndarray, image: str) -> tuple[str, str]:
    colours = raw[..., 0] if raw.shape[2] == 2 else raw[..., :3]
    flat = np.unique(colours.reshape(raw.shape[0] * raw.shape[1], -1), axis=0)
    what = f'{path} has {raw.shape[2]} channels and {len(flat):,} colours; a mask has one channel'
    if _is_mask(image) and len(flat) > 256:
        return what, 'are data_prefix.img_path and data_prefix.seg_map_path swapped?'
    if colours.ndim == 2 or (flat == flat[:, :1]).all():
        return what, 'all its channels are equal: keep one, `Image.open(file).getchannel(0)`'
    return what, 'replace each colour by the number of its class and save one channel of 8 bits'


def _is_mask(image: str) -> bool:
    """Whether an "image" looks like a mask: one channel and few values."""
    try:
        with Image.open(image) as opened:
            return opened.mode in ('1', 'L', 'P') and len(opened.getcolors() or ()) in range(1, 65)
    except Exception:  # unreadable images are reported elsewhere
        return False


def check_values(part: Part, path: str, raw: np.ndarray, labels: np.ndarray) -> Iterator[Finding]:
    """Find values that are not a class.

    Args:
        part: The data set.
        path: The mask's file.
        raw: ``(H, W)``, as decoded.
        labels: ``(H, W)``, as the pipeline loads them for training.
    """
    number = part.num_classes
    if not number:
        return
    labels_there = present(labels)
    wrong = labels_there[(labels_there >= number) & (labels_there != part.ignore_index)]
    if len(wrong):
        values = present(raw[np.isin(labels, wrong)])
        noun = 'value' if len(values) == 1 else 'values'
        yield Finding(
            'values', f'{path} holds the {noun} {listed(values)}, expected {expected(part)}', ''
        )
    elif not (labels_there < number).any():
        yield Finding(
            'empty masks',
            f'{path} has no pixel of any class, only {listed(present(raw))}',
            'such an image teaches nothing; remove it from the set if this is not intended',
            fatal=False,
        )


def expected(part: Part) -> str:
    """The values allowed in a mask of this data set, in words."""
    return allowed_values(part.num_classes or 0, part.reduce_zero_label, part.ignore_index)


def check_size(
    part: Part, path: str, size: tuple[int, ...], image: str, image_size: tuple[int, ...]
) -> Iterator[Finding]:
    """Find masks whose size (rows, columns) or orientation differs from their image's."""
    if size == image_size:
        yield from _check_turned(part, path, image)
        return
    height, width = image_size
    what = f'{path} is {"x".join(map(str, size[::-1]))}, its image {image} {width}x{height}'
    if size == image_size[::-1] and orientation(image) > 1:
        yield Finding(
            'turned',
            f'{what} as it is loaded, rotated by its EXIF tag',
            'rotate the masks too, or load images as they are stored: '
            "color_type='color_ignore_orientation' of LoadImageFromFile, in every pipeline",
        )
    else:
        yield Finding(
            'sizes', what, 'save masks at the size of their images (nearest neighbour, not JPEG)'
        )


def _check_turned(part: Part, path: str, image: str) -> Iterator[Finding]:
    """Find photos that are rotated while their mask is not and the sizes do not show it."""
    load = part.loads[0]
    turns = getattr(load, 'color_type', '') in ('color', 'grayscale')
    tag = orientation(image) if turns else 1
    if tag <= 1:
        return
    with Image.open(image) as opened:
        square = opened.width == opened.height
    if tag < 5 or square:
        yield Finding(
            'perhaps turned',
            f'{image} is rotated by its EXIF tag ({tag}) when it is loaded, {path} is not',
            'check with tools/browse_dataset.py whether they match',
            fatal=False,
        )


def orientation(image: str) -> int:
    """EXIF orientation of an image file, 1 if it has none."""
    if REMOTE in image:
        return 1
    try:
        with Image.open(image) as opened:
            return int(opened.getexif().get(ORIENTATION, 1))
    except Exception:  # formats unknown to Pillow have no such tag
        return 1
