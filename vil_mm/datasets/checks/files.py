"""Check that image and annotation files can be read and hold what they should."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from vil_mm.datasets.pixel_limit import TooManyPixelsError, check_pixels

# A kind of problem (a key of ``tree_report.FIXES``) and the name of the file that has it.
Problem = tuple[str, str]
# An image and its annotation, relative to the root; None where there is no such file.
PairNames = tuple[str | None, str | None]
Size = tuple[int, int]

# Last bytes of complete files; some programs append data, far shorter than the margin.
END_MARKERS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND'}
END_MARGIN = 4096
MAGIC = {b'\xff\xd8': 'JPEG', b'\x89P': 'PNG'}  # first bytes of a file


def is_cut_off(path: str | Path) -> bool:
    """Whether a JPEG or PNG file is truncated, which OpenCV silently accepts.

    Some cameras append a video to a photo, which moves the end marker away from the end of the
    file; if the marker is not found there, the image is decoded.
    """
    try:
        with open(path, 'rb') as file:
            kind = MAGIC.get(file.read(2), '')
            if not kind or _has_end(file, Path(path).stat().st_size, kind):
                return False
            with Image.open(file) as image:
                image.load()
    except Exception:  # damaged files make Pillow raise errors of almost any type
        return True
    return False


def is_deep(path: str | Path) -> bool:
    """Whether a PNG or TIFF file has more than 8 bits a channel; reads its header."""
    if not str(path).lower().endswith(('.png', '.tif', '.tiff')):
        return False
    try:
        with Image.open(path) as image:
            return image.mode.startswith(('I', 'F'))
    except Exception:  # formats unknown to Pillow are not checked here
        return False


def check_pairs(
    root: str, pairs: Sequence[PairNames], labels: Collection[int], quick: bool
) -> list[Problem]:
    """Check images and their annotations, each file read once.

    Args:
        root: Folder of the names.
        pairs: The files.
        labels: Allowed values in annotations.
        quick: Read only headers and end markers instead of decoding the files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow's, about odd metadata that training ignores
        return [
            finding for pair in pairs for finding in _check_pair(Path(root), pair, labels, quick)
        ]


def _check_pair(
    root: Path, pair: PairNames, labels: Collection[int], quick: bool
) -> Iterator[Problem]:
    sizes = []
    for name, expected in zip(pair, (None, labels), strict=True):
        if name is not None:
            size, findings = _check_file(root / name, expected, quick)
            sizes.append(size)
            yield from ((kind, f'{name}{detail}') for kind, detail in findings)
    if len(sizes) == 2 and None not in sizes and sizes[0] != sizes[1]:
        (width, height), (label_width, label_height) = sizes
        yield 'sizes', f'{pair[1]} ({label_width}x{label_height}, image {width}x{height})'


def _check_file(
    path: Path, labels: Collection[int] | None, quick: bool
) -> tuple[Size | None, list[Problem]]:
    """Width and height in pixels (None if unreadable), and problems: kind and details."""
    try:
        num_bytes = path.stat().st_size
        if num_bytes == 0:
            return None, [('empty files', '')]
        check_pixels(path)
        with path.open('rb') as file:
            content = file if quick else io.BytesIO(file.read())
            with Image.open(content) as image:
                size = image.size
                findings = [] if labels is None else _check_mode(image.mode)
                if not quick:
                    findings += _decode(image, None if findings else labels)
                if not _has_end(content, num_bytes, image.format or ''):
                    raise ValueError('its end is missing')
        return size, findings
    except TooManyPixelsError as error:
        return None, [('unreadable files', f' ({str(error).removeprefix(str(path)).strip()})')]
    except Exception as error:  # damaged files make Pillow raise errors of almost any type
        reason = 'no known format' if isinstance(error, Image.UnidentifiedImageError) else error
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        return None, [('unreadable files', f' ({reason})')]


def _has_end(file: BinaryIO, num_bytes: int, kind: str) -> bool:
    """Whether a file has the end marker of its format; True for other formats."""
    file.seek(max(0, num_bytes - END_MARGIN))
    return END_MARKERS.get(kind, b'') in file.read()


def _check_mode(mode: str) -> list[Problem]:
    if mode == 'L':
        return []
    if mode == 'P':
        return [('palette annotations', '')]
    if mode in ('RGB', 'RGBA', 'CMYK', 'YCbCr'):
        return [('colour annotations', f' ({mode})')]
    return [('annotations not of 8 bits', f' ({mode})')]


def _decode(image: Image.Image, labels: Collection[int] | None) -> list[Problem]:
    """Decode the whole file and check its values against ``labels``, unless that is None.

    Without ``labels``, a JPEG is decoded at an eighth of its size: every byte is still read, and
    the rest would take most of the time without finding anything.
    """
    if labels is None:
        image.draft(None, (1, 1))
    image.load()
    if labels is None:
        return []
    present = [value for value, count in enumerate(image.histogram()) if count]
    wrong = [value for value in present if value not in labels]
    listed = ', '.join(map(str, wrong[:5])) + (', ...' if len(wrong) > 5 else '')
    return [('label values', f' ({listed})')] if wrong else []
