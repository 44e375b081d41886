"""What masks hold: values, palette indices or colours, and how often each occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vil_mm.datasets.pixel_limit import check_pixels

GREY, PALETTE, COLOUR = 'grey', 'palette', 'colour'
SHOWN = 6  # codes listed in a message
OPAQUE = 128  # lowest alpha of a painted pixel
# by EXIF orientation
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
class MaskContent:
    """One mask as it is stored.

    Attributes:
        kind: 'grey', 'palette' or 'colour'; a colour image with equal channels is grey.
        mode: Pillow's name of the pixel format, such as 'L' or 'RGB'.
        size: Width and height in pixels.
        codes: Pixels by value, palette index, or colour (0xRRGGBB), depending on the kind.
        colours: Pixels by colour (0xRRGGBB), whatever the kind; empty for 16-bit masks.
        palette: Colour of each index that occurs; empty without a palette.
    """

    kind: str
    mode: str
    size: tuple[int, int]
    codes: Counter[int]
    colours: Counter[int]
    palette: dict[int, int]


@dataclass(frozen=True)
class Survey:
    """All masks of a data set.

    Attributes:
        kind: How to read them: 'grey' by value, 'palette' by index, 'colour' by colour.
        modes: Pillow's names of the pixel formats that occur.
        codes: Pixels of each code in all masks.
        colours: Pixels of each colour in all masks; empty if a mask has 16 bits.
        palette: Colour of each index, if masks are read by index.
        why: The reason for the kind if it is not obvious, else ''.
    """

    kind: str
    modes: tuple[str, ...]
    codes: Counter[int]
    colours: Counter[int]
    palette: dict[int, int]
    why: str = ''

    def by_colour(self) -> Survey:
        """The same masks, read by colour."""
        return replace(self, kind=COLOUR, codes=self.colours)

    def distance(self, code: int, other: int) -> int:
        """The difference of two codes; for colours, the largest over the channels."""
        if self.kind != COLOUR:
            return abs(code - other)
        return max(abs((code >> shift & 0xFF) - (other >> shift & 0xFF)) for shift in (16, 8, 0))

    def name_code(self, code: int) -> str:
        return f'#{code:06x}' if self.kind == COLOUR else str(code)

    def name_with_share(self, code: int) -> str:
        """A code with its share of all pixels."""
        share = format_share(self.codes[code], self.codes.total())
        return f'{self.name_code(code)} ({share})'

    def list_codes(self, codes: Counter[int] | None = None) -> str:
        """The commonest codes, of all or of some, with their shares."""
        codes = self.codes if codes is None else codes
        common = sorted(code for code, _ in codes.most_common(SHOWN))
        more = f' and {len(codes) - SHOWN} more' if len(codes) > SHOWN else ''
        return ', '.join(map(self.name_with_share, common)) + more


def format_share(pixels: int, total: int) -> str:
    share = 100 * pixels / total
    return 'never' if not pixels else f'{share:.1f} %' if share >= 0.05 else '< 0.1 %'


def open_mask(path: Path) -> Image.Image:
    """Read a mask and turn it as its EXIF data say.

    Raises:
        ValueError: The file cannot be read, has too many pixels, or several pages.
    """
    check_pixels(path)
    try:
        with Image.open(path) as image:
            image.load()
            pages = getattr(image, 'n_frames', 1)
            turned = ImageOps.exif_transpose(image)
    except Exception as error:  # damaged files make Pillow raise errors of almost any type
        known = not isinstance(error, Image.UnidentifiedImageError)
        why = str(error) if known else 'Pillow does not know its format'
        raise ValueError(f'{path} cannot be read as a mask: {why}') from error
    if pages > 1:
        raise ValueError(f'{path} has {pages} pages: a mask is a single image')
    return turned


def read_codes(image: Image.Image, kind: str) -> np.ndarray:
    """The codes ``(H, W)``, int64, of a mask: values, indices, or colours 0xRRGGBB.

    Transparent pixels count as black. If all opaque pixels are black, the opacity is the value.

    Raises:
        ValueError: The mask has fractional values.
    """
    if kind == PALETTE:
        return np.asarray(image).astype(np.int64)
    # a palette of the grey values in order is a grey image; any other shows colours
    plain = image.convert('RGB') if image.mode == 'P' and kind == COLOUR else _plain(image)
    if kind == GREY:
        values = np.asarray(plain)
        return values.astype(np.int64) if values.ndim == 2 else values[..., 0].astype(np.int64)
    red, green, blue = np.moveaxis(np.asarray(plain.convert('RGB')).astype(np.int64), -1, 0)
    return red << 16 | green << 8 | blue


def inspect_mask(path: Path) -> MaskContent:
    """Read one mask and count its codes.

    Raises:
        ValueError: The file cannot be read, or has fractional values.
    """
    image = open_mask(path)
    try:
        return _inspect_image(image)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def survey(masks: Iterable[MaskContent]) -> Survey:
    """Decide how to read the masks of a data set, and add up what they hold."""
    masks = list(masks)
    modes = tuple(sorted({mask.mode for mask in masks}))
    palette = _merge_palettes(masks)
    kind, why = _find_common_kind({mask.kind for mask in masks}, palette)
    colours = _add_up(mask.colours for mask in masks)
    if not all(mask.colours for mask in masks):  # some have 16 bits
        colours = Counter()
    codes = colours if kind == COLOUR else _add_up(mask.codes for mask in masks)
    return Survey(kind, modes, codes, colours, palette or {} if kind == PALETTE else {}, why)


def _find_common_kind(kinds: set[str], palette: dict[int, int] | None) -> tuple[str, str]:
    """A way to read masks of all these kinds, and the reason for it."""
    if PALETTE in kinds and palette is None:
        return COLOUR, 'palettes differ from file to file'
    if PALETTE in kinds and all(colour == index * 0x010101 for index, colour in palette.items()):
        kinds = kinds - {PALETTE} | {GREY}  # the palette is the grey values in order
    if len(kinds) == 1:
        return kinds.pop(), ''
    # among coloured masks, an empty one is grey
    return COLOUR, 'some have a palette, others have none' if PALETTE in kinds else ''


def _add_up(counters: Iterable[Counter[int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _inspect_image(image: Image.Image) -> MaskContent:
    if image.mode == 'P':
        indices = count(read_codes(image, PALETTE))
        palette = _read_palette(image, indices)
        colours = Counter()
        for index, pixels in indices.items():
            colours[palette[index]] += pixels
        return MaskContent(PALETTE, image.mode, image.size, indices, colours, palette)
    plain = _plain(image)
    if plain.mode == 'RGB':
        colours = count(read_codes(plain, COLOUR))
        if any(colour % 0x010101 for colour in colours):
            return MaskContent(COLOUR, image.mode, image.size, colours, colours, {})
        values = Counter({colour & 0xFF: pixels for colour, pixels in colours.items()})
        return MaskContent(GREY, image.mode, image.size, values, colours, {})
    values = count(read_codes(plain, GREY))
    colours = Counter({value * 0x010101: pixels for value, pixels in values.items()})
    colours = colours if max(values) < 256 else Counter()
    return MaskContent(GREY, image.mode, image.size, values, colours, {})


def _plain(image: Image.Image) -> Image.Image:
    """The mask without transparency, as RGB or with its single channel."""
    if image.mode == '1':
        return image.convert('L')
    if image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa'):
        return _flatten(image.convert('RGBA'))
    if image.mode == 'F':
        values = np.asarray(image)
        if not np.array_equal(values, np.round(values)):
            raise ValueError('fractional values: a mask has one whole number per pixel')
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
    """The number of pixels of each code."""
    if codes.min() >= 0 and codes.max() < 1 << 24:  # bincount is many times faster
        counts = np.bincount(codes.ravel())
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(codes, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _read_palette(image: Image.Image, indices: Iterable[int]) -> dict[int, int]:
    flat = image.getpalette() or []
    entries = [*flat, *([0] * (768 - len(flat)))]
    return {i: entries[3 * i] << 16 | entries[3 * i + 1] << 8 | entries[3 * i + 2] for i in indices}


def _merge_palettes(masks: list[MaskContent]) -> dict[int, int] | None:
    """The common palette; None if two masks use an index for different colours."""
    merged: dict[int, int] = {}
    for mask in masks:
        if any(merged.setdefault(i, colour) != colour for i, colour in mask.palette.items()):
            return None
    return merged
