"""What the user's two folders hold: pairs, sizes, and masks of rotated photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
from PIL import Image

from vil_mm.datasets.checks.files import check_pairs
from vil_mm.errors import ArgumentError
from vil_mm.own_data.masks import TURNS, MaskContent, Survey, inspect_mask, survey
from vil_mm.own_data.pairing import Pair, Pairing, find_pairs, shorten
from vil_mm.progress import Progress, no_progress, track

ORIENTATION = 0x0112  # EXIF tag
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height
Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Photo:
    """A photo and its mask, after both were read.

    Attributes:
        pair: The files.
        size: Width and height of the photo as training loads it, turned as its EXIF data say.
        turn: EXIF orientation that turns the mask to match the photo; 1 if it already does, 0 if
            the sizes differ.
        mask: What the mask holds.
    """

    pair: Pair
    size: Size
    turn: int
    mask: MaskContent


@dataclass(frozen=True)
class Folders:
    """Both folders: photos and masks."""

    images: Path
    masks: Path
    pairing: Pairing
    photos: list[Photo]
    survey: Survey

    def lines(self) -> list[str]:
        """A summary for the screen."""
        sizes = Counter(photo.size for photo in self.photos)
        words = ', '.join(self.pairing.words)
        by = f'by name, ignoring "{words}"' if words else 'by name'
        turned = sum(photo.turn != 1 for photo in self.photos)
        kinds = {'grey': 'grey values', 'palette': 'palette indices', 'colour': 'colours'}
        why = f' ({self.survey.why})' if self.survey.why else ''
        lines = [
            f'photos   {len(self.photos)} in {self.images} ({_endings(self.photos, "image")}), '
            f'{_describe_sizes(sizes)}',
            f'masks    {len(self.photos)} in {self.masks} ({_endings(self.photos, "mask")}), '
            f'paired {by}; {"/".join(self.survey.modes)}, read as {kinds[self.survey.kind]}{why}',
        ]
        if self.pairing.unpaired:
            left_out = self.pairing.unpaired
            lines.append(f'left out {len(left_out)} without a partner: {shorten(left_out)}')
        if turned:
            lines.append(f"turned   {turned} masks, following their photos' EXIF data")
        return lines


def inspect_folders(
    images: Path,
    masks: Path,
    *,
    skip_unpaired: bool = False,
    progress: Progress = no_progress,
) -> Folders:
    """Pair photos and masks and read each file once.

    Args:
        images, masks: The folders.
        skip_unpaired: Leave out photos without a mask and masks without a photo.
        progress: Called after each pair.

    Raises:
        FileNotFoundError, ValueError: As ``find_pairs``; or a file has no partner, a file cannot be
            read, or a mask and its photo differ in size.
    """
    pairing = find_pairs(images, masks)
    if pairing.unpaired and not skip_unpaired:
        raise ArgumentError(
            f'{len(pairing.unpaired)} files have no partner ({len(pairing.pairs)} pairs were '
            f'found): {shorten(pairing.unpaired)}; every photo needs a mask of its name',
            skip_unpaired=False,
        )
    pairs = track(pairing.pairs, len(pairing.pairs), 'photos', progress)
    photos = [_inspect_pair(pair) for pair in pairs]
    wrong = [photo for photo in photos if not photo.turn]
    if wrong:
        raise ValueError(_describe_wrong_sizes(wrong))
    return Folders(images, masks, pairing, photos, survey(x.mask for x in photos))


def _inspect_pair(pair: Pair) -> Photo:
    size, turn = _read_loaded_size(pair.image)
    mask = inspect_mask(pair.mask)
    if mask.size == size:
        turn = 1
    elif turn not in SIDEWAYS or mask.size != size[::-1]:
        turn = 0
    return Photo(pair, size, turn, mask)


def _read_loaded_size(photo: Path) -> tuple[Size, int]:
    """Size of a photo as training loads it, and the EXIF orientation applied while loading.

    Raises:
        ValueError: The photo cannot be read, or has more than 8 bits.
    """
    problems = check_pairs(str(photo.parent), [(photo.name, None)], (), quick=False)
    if problems:
        why = problems[0][1].removeprefix(photo.name).strip(' ()') or 'the file is empty'
        raise ValueError(f'{photo} cannot be read: {why}')
    with Image.open(photo) as image:
        size, mode, turn = image.size, image.mode, image.getexif().get(ORIENTATION, 1)
    if mode == 'F' or mode.startswith('I'):
        raise ValueError(
            f'{photo} has more than 8 bits per channel, of which training would read only the '
            'upper 8: convert the photos to 8 bits'
        )
    if turn not in TURNS:
        return size, 1
    height, width = mmcv.imread(str(photo)).shape[:2]  # turned as LoadImageFromFile does
    turned = turn not in SIDEWAYS or (width, height) == size[::-1]
    return (width, height), turn if turned else 1


def _describe_wrong_sizes(photos: Sequence[Photo]) -> str:
    first = photos[0]
    width, height = first.mask.size
    others = f' (and {len(photos) - 1} more such pairs)' if len(photos) > 1 else ''
    return (
        f'{first.pair.mask} has {width}x{height} pixels, its photo {first.pair.image} has '
        f'{first.size[0]}x{first.size[1]}{others}: export the mask at the size of its photo, or '
        'rescale it with nearest-neighbour interpolation'
    )


def _describe_sizes(sizes: Counter[Size]) -> str:
    if len(sizes) == 1:
        ((width, height),) = sizes
        return f'{width}x{height}'
    (low, high) = (f(sizes, key=lambda size: size[0] * size[1]) for f in (min, max))
    return f'{len(sizes)} sizes from {low[0]}x{low[1]} to {high[0]}x{high[1]}'


def _endings(photos: Sequence[Photo], which: str) -> str:
    return ', '.join(sorted({getattr(photo.pair, which).suffix for photo in photos}))
