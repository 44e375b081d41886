"""Whether a file of an image or an annotation can be read and holds what it should."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

# A kind of problem (a key of ``tree_report.FIXES``) and the name of the file that has it.
Problem = tuple[str, str]
# An image and its annotation, relative to the root; None where there is no such file.
PairNames = tuple[str | None, str | None]
Size = tuple[int, int]

# How files end that are whole; what some programs write behind it is far shorter than the margin.
END_MARKERS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND'}
END_MARGIN = 4096


MAGIC = {b'\xff\xd8': 'JPEG', b'\x89P': 'PNG'}  # how files begin


def is_cut_off(path: str | Path) -> bool:
    """Whether the end of a JPEG or PNG file is missing, which OpenCV passes over in silence.

    Some cameras put a film behind a photo, so that its end is not that of the file: where no end
    is found the image is decoded.
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


def check_pairs(
    root: str, pairs: Sequence[PairNames], labels: Collection[int], quick: bool
) -> list[Problem]:
    """Check images and their annotations, each file read once.

    Args:
        root: Folder that the names are relative to.
        pairs: The files.
        labels: Values that an annotation may have.
        quick: Read headers and look for the end markers only. Otherwise files are decoded, too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow's, of odd metadata that no training reads
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
    """Width and height in pixels (None if unreadable), and kinds of problems with details."""
    try:
        num_bytes = path.stat().st_size
        if num_bytes == 0:
            return None, [('empty files', '')]
        with path.open('rb') as file:
            content = file if quick else io.BytesIO(file.read())
            with Image.open(content) as image:
                size = image.size
                findings = [] if labels is None else _check_mode(image.mode)
                if not quick:
                    findings += _decode(image, None if findings else labels)
                _require_end(content, num_bytes, image.format)
        return size, findings
    except Exception as error:  # damaged files make Pillow raise errors of almost any type
        reason = 'no known format' if isinstance(error, Image.UnidentifiedImageError) else error
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        return None, [('unreadable files', f' ({reason})')]


def _require_end(file: BinaryIO, num_bytes: int, kind: str | None) -> None:
    if not _has_end(file, num_bytes, kind or ''):
        raise ValueError('its end is missing')


def _has_end(file: BinaryIO, num_bytes: int, kind: str) -> bool:
    """Whether a file of a known kind has its end marker; True of other kinds."""
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
    """Read all of the file; ``labels`` are what it may hold, None if that is not to be looked at.

    Of a JPEG every byte is read, but an eighth of its width and height is computed: the rest costs
    most of the time and finds nothing.
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
