"""A limit on the pixels of an image, checked by its header before it is decoded.

A file of some kilobytes can declare pixels that take gigabytes. The limit is Pillow's, or the value
of the environment variable ``OPENCV_IO_MAX_IMAGE_PIXELS``, which is OpenCV's limit as well.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

from PIL import Image

VARIABLE = 'OPENCV_IO_MAX_IMAGE_PIXELS'  # OpenCV reads it when it is imported
DEFAULT = 178_956_970  # pixels above which Pillow raises an error


class TooManyPixelsError(ValueError):
    """An image has more pixels than the limit; the message names its file."""


def pixel_limit() -> int:
    """The largest number of pixels of an image.

    Raises:
        ValueError: The environment variable is not a whole number.
    """
    text = os.environ.get(VARIABLE) or str(DEFAULT)
    if not text.isdecimal():
        raise ValueError(f'{VARIABLE}={text}: expected a number of pixels')
    return int(text)


def check_pixels(source: str | Path | bytes, path: str | Path = '') -> None:
    """Fail if the header of an image declares too many pixels.

    Formats that Pillow does not know pass, and damaged files: decoding finds these.

    Args:
        source: The file, or its content.
        path: The file's name, for the message; by default ``source``.

    Raises:
        TooManyPixelsError: It does.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            count = image.width * image.height
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(_describe(path or source, '')) from error
    except Exception:  # damaged files make Pillow raise errors of almost any type
        return
    check_count(count, path or source)


def check_count(count: int, path: str | Path) -> None:
    """Fail if an image of this many pixels has too many.

    Raises:
        TooManyPixelsError: It has.
    """
    if count > pixel_limit():
        raise TooManyPixelsError(_describe(path, f' ({count:,})'))


def _describe(path: str | Path, count: str) -> str:
    return (
        f'{path} has more pixels{count} than the limit of {pixel_limit():,}: cut it into tiles, or '
        f'set the environment variable {VARIABLE}'
    )


def _leave_it_to_us() -> None:
    """Keep Pillow from failing below our limit, and from warning at half of its own."""
    warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)
    text = os.environ.get(VARIABLE, '')
    if text.isdecimal() and int(text) > DEFAULT:
        Image.MAX_IMAGE_PIXELS = int(text)


_leave_it_to_us()
