"""What the masks of a set hold: values, palette or colours, and how often each occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

GREY, PALETTE, COLOUR = 'grey', 'palette', 'colour'
OPAQUE = 128  # alpha from which a pixel counts as painted
# by the number in the EXIF tag Orientation
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Look:
    """One mask as it is stored.

    Attributes:
        kind: 'grey', 'palette' or 'colour'; a colour image whose channels are equal is grey.
        mode: Pillow's name of the format, such as 'L' or 'RGB'.
        size: Width and height in pixels.
        codes: Pixels by value, by index into the palette, or by colour, 0xRRGGBB.
        colours: Pixels by colour, 0xRRGGBB, whatever the kind; of 16 bits none.
        palette: Colour of each index that occurs; {} of other kinds.
    """

    kind: str
    mode: str
    size: tuple[int, int]
    codes: Counter[int]
    colours: Counter[int]
    palette: dict[int, int]


@dataclass(frozen=True)
class Survey:
    """All masks of a set.

    Attributes:
        kind: How they are read: 'grey' by value, 'palette' by index, 'colour' by colour.
        modes: Pillow's names of the formats that occur.
        codes: Pixels of every code in the whole set.
        colours: The same by colour; empty where there are 16 bits.
        palette: Colour of each index, if they are read by index.
        why: A remark on why they are read so, or ''.
    """

    kind: str
    modes: tuple[str, ...]
    codes: Counter[int]
    colours: Counter[int]
    palette: dict[int, int]
    why: str = ''


def open_mask(path: Path) -> Image.Image:
    """A mask, turned as its own metadata say.

    Raises:
        ValueError: It cannot be read, or has several pages.
    """
    try:
        with Image.open(path) as image:
            image.load()
            pages = getattr(image, 'n_frames', 1)
            turned = ImageOps.exif_transpose(image)
    except Exception as error:  # damaged files make Pillow raise errors of almost any type
        known = not isinstance(error, Image.UnidentifiedImageError)
        why = str(error) if known else 'no format that Pillow knows'
        raise ValueError(f'{path} cannot be read as a mask: {why}') from error
    if pages > 1:
        raise ValueError(f'{path} has {pages} pages: a mask is one picture with a value a pixel')
    return turned


def read_codes(image: Image.Image, kind: str) -> np.ndarray:
    """The codes ``(H, W)``, int64, of a mask: values, indices, or colours 0xRRGGBB.

    Of half-transparent pictures the unpainted pixels are black; where all that is painted is black,
    the opacity is the value.

    Raises:
        ValueError: Values with fractions.
    """
    if kind == PALETTE:
        return np.asarray(image).astype(np.int64)
    # a palette's greys in order are values, of others the colours are what one sees
    plain = image.convert('RGB') if image.mode == 'P' and kind == COLOUR else _plain(image)
    if kind == GREY:
        values = np.asarray(plain)
        return values.astype(np.int64) if values.ndim == 2 else values[..., 0].astype(np.int64)
    red, green, blue = np.moveaxis(np.asarray(plain.convert('RGB')).astype(np.int64), -1, 0)
    return red << 16 | green << 8 | blue


def look_at(path: Path) -> Look:
    """Read one mask and count its codes.

    Raises:
        ValueError: It cannot be read, or holds values with fractions.
    """
    image = open_mask(path)
    try:
        return _look(image)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def survey(looks: Iterable[Look]) -> Survey:
    """Decide how the masks of a set are read, and add up what they hold."""
    looks = list(looks)
    modes = tuple(sorted({look.mode for look in looks}))
    palette = _merge_palettes(looks)
    kind, why = _common_kind({look.kind for look in looks}, palette)
    colours = _sum(look.colours for look in looks)
    if not all(look.colours for look in looks):  # of 16 bits
        colours = Counter()
    codes = colours if kind == COLOUR else _sum(look.codes for look in looks)
    return Survey(kind, modes, codes, colours, palette or {} if kind == PALETTE else {}, why)


def _common_kind(kinds: set[str], palette: dict[int, int] | None) -> tuple[str, str]:
    """How masks of these kinds are read together, and a remark on it."""
    if PALETTE in kinds and palette is None:
        return COLOUR, 'palettes differ from file to file'
    if PALETTE in kinds and all(colour == index * 0x010101 for index, colour in palette.items()):
        kinds = kinds - {PALETTE} | {GREY}  # the palette of grey values
    if len(kinds) == 1:
        return kinds.pop(), ''
    # a mask without a painted pixel is grey among coloured ones
    return COLOUR, 'some have a palette, others have none' if PALETTE in kinds else ''


def _sum(counters: Iterable[Counter[int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _look(image: Image.Image) -> Look:
    if image.mode == 'P':
        indices = count(read_codes(image, PALETTE))
        colour_of = _palette(image, indices)
        colours = Counter()
        for index, pixels in indices.items():
            colours[colour_of[index]] += pixels
        return Look(PALETTE, image.mode, image.size, indices, colours, colour_of)
    plain = _plain(image)
    if plain.mode == 'RGB':
        colours = count(read_codes(plain, COLOUR))
        if any(colour % 0x010101 for colour in colours):
            return Look(COLOUR, image.mode, image.size, colours, colours, {})
        values = Counter({colour & 0xFF: pixels for colour, pixels in colours.items()})
        return Look(GREY, image.mode, image.size, values, colours, {})
    values = count(read_codes(plain, GREY))
    colours = Counter({value * 0x010101: pixels for value, pixels in values.items()})
    colours = colours if max(values) < 256 else Counter()
    return Look(GREY, image.mode, image.size, values, colours, {})


def _plain(image: Image.Image) -> Image.Image:
    """The mask without transparency: as RGB, or one channel as it is."""
    if image.mode == '1':
        return image.convert('L')
    if image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa'):
        return _flatten(image.convert('RGBA'))
    if image.mode == 'F':
        values = np.asarray(image)
        if not np.array_equal(values, np.round(values)):
            raise ValueError('values with fractions: a mask has a whole number a pixel')
        return Image.fromarray(values.astype(np.int32))
    if image.mode in ('L', 'I', 'RGB') or image.mode.startswith('I;16'):
        return image
    return image.convert('L' if image.mode == 'P' else 'RGB')


def _flatten(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image)
    colour, alpha = pixels[..., :3], pixels[..., 3]
    if not colour[alpha >= OPAQUE].any() and alpha.min() < OPAQUE:
        return Image.fromarray(alpha)
    return Image.fromarray(np.where(alpha[..., None] >= OPAQUE, colour, 0).astype(np.uint8))


def count(codes: np.ndarray) -> Counter[int]:
    """Pixels of every code."""
    if codes.min() >= 0 and codes.max() < 1 << 24:  # many times faster
        counts = np.bincount(codes.ravel())
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(codes, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _palette(image: Image.Image, indices: Iterable[int]) -> dict[int, int]:
    flat = image.getpalette() or []
    entries = [*flat, *([0] * (768 - len(flat)))]
    return {i: entries[3 * i] << 16 | entries[3 * i + 1] << 8 | entries[3 * i + 2] for i in indices}


def _merge_palettes(looks: list[Look]) -> dict[int, int] | None:
    """The palette of all files; None if two have different colours for an index that both use."""
    merged: dict[int, int] = {}
    for look in looks:
        if any(merged.setdefault(i, colour) != colour for i, colour in look.palette.items()):
            return None
    return merged
