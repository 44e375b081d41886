"""Which mask belongs to which photo, by the names in two folders."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vil_mm.datasets.images import IMAGE_SUFFIXES

MASK_SUFFIXES = (*IMAGE_SUFFIXES, '.gif')  # masks are recoded: Pillow alone has to read them
SPLITS = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}
MOST, FEW = 0.8, 0.2  # shares of names, so that one stray file does not hide what the others share
SHOWN = 5  # names in a message

Key = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A photo and its mask.

    Attributes:
        name: Path of the photo below its folder, with '/'.
        image, mask: The files.
        split: 'train', 'val' or 'test' if the photo lies in a folder of that name, else None.
    """

    name: str
    image: Path
    mask: Path
    split: str | None


@dataclass(frozen=True)
class Pairing:
    """What was paired, and how.

    Attributes:
        pairs: By name.
        words: Words that most masks (or photos) share and that were left out for the comparison.
        unpaired: Photos and masks without the other.
    """

    pairs: list[Pair]
    words: tuple[str, ...]
    unpaired: list[Path]


def find_pairs(images: Path, masks: Path) -> Pairing:
    """Pair the photos and masks in two folders, and in the folders in these.

    A mask has its photo's name, upper or lower case; what most masks (or photos) have in their
    names and the others have not, such as ``_mask``, is left out. Subfolders have to agree, where
    ``train`` and ``training`` are one; where none do, names alone count, if none occurs twice.

    Raises:
        FileNotFoundError: A folder is not there or has no such files.
        ValueError: The folders are one, two files have one name, or nothing fits.
    """
    if images.resolve() == masks.resolve():
        raise ValueError(
            f'photos and masks are both in {images}: put the masks into another folder'
        )
    photo_files = _scan(images, IMAGE_SUFFIXES, masks)
    mask_files = _scan(masks, MASK_SUFFIXES, images)
    photo_words, mask_words = _own_words(photo_files, mask_files)
    ways = [(words, flat) for flat in (False, True) for words in (None, (photo_words, mask_words))]
    found = [_match(images, photo_files, masks, mask_files, *way) for way in ways]
    best = max(found[:2], key=lambda pairing: len(pairing.pairs))
    if not best.pairs:
        best = max(found, key=lambda pairing: len(pairing.pairs))
    if not best.pairs:
        some = [
            shorten([file.relative_to(folder).as_posix() for file in files[:3]])
            for folder, files in ((images, photo_files), (masks, mask_files))
        ]
        raise ValueError(
            f'no mask in {masks} has the name of a photo in {images}: there are photos such as '
            f"{some[0]} and masks such as {some[1]}; a mask has its photo's name, also with "
            'something before or behind it that all masks have'
        )
    return best


def shorten(files: Sequence[object]) -> str:
    """The first names of a list, and how many more there are."""
    names = [file.name if isinstance(file, Path) else str(file) for file in files]
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more


def _scan(folder: Path, suffixes: Collection[str], other: Path) -> list[Path]:
    """Files with these endings below a folder; hidden ones and those of the other folder not."""
    if not folder.is_dir():
        raise FileNotFoundError(f'no such folder: {folder} (looked from {Path.cwd()})')
    beside = other.resolve()
    present = [
        path
        for path in sorted(folder.rglob('*'))
        if path.is_file()
        and not any(part.startswith('.') for part in path.relative_to(folder).parts)
        and not (path.resolve().is_relative_to(beside) and beside.is_relative_to(folder.resolve()))
    ]
    found = [path for path in present if path.suffix.lower() in suffixes]
    if not found:
        others = sorted({path.suffix or path.name for path in present})
        raise FileNotFoundError(
            f'no image in {folder}: expected files with the endings {", ".join(suffixes)}'
            + (f'; there are {shorten(others)}' if others else '; it is empty')
        )
    return found


def _words(stem: str) -> list[str]:
    return [
        _same(word) for word in re.findall(r'\d+|[^\W\d_]+', unicodedata.normalize('NFC', stem))
    ]


def _same(name: str) -> str:
    """A name whatever its case and way to write an umlaut, of which macOS has its own."""
    return unicodedata.normalize('NFC', name).casefold()


def _own_words(photos: list[Path], masks: list[Path]) -> tuple[set[str], set[str]]:
    """Words that most of the photos have and hardly any mask; and the other way round."""
    shares = []
    for files in (photos, masks):
        counts = Counter(word for file in files for word in set(_words(file.stem)))
        shares.append({word: count / len(files) for word, count in counts.items()})
    return tuple(
        {word for word, share in own.items() if share >= MOST and other.get(word, 0) <= FEW}
        for own, other in (shares, shares[::-1])
    )


def _key(path: Path, folder: Path, words: set[str] | None, flat: bool) -> Key:
    parents = [_same(part) for part in path.relative_to(folder).parent.parts if not flat]
    parents = [SPLITS.get(part, part) for part in parents]
    if words is None:
        return *parents, _same(path.stem)
    key = (*parents, *(word for word in _words(path.stem) if word not in words))
    return key or (_same(path.stem),)


def _match(
    images: Path,
    photos: list[Path],
    masks: Path,
    mask_files: list[Path],
    words: tuple[set[str], set[str]] | None,
    flat: bool,
) -> Pairing:
    by_key = _unique(mask_files, masks, words and words[1], flat)
    keys = _unique(photos, images, words and words[0], flat)
    if keys is None or by_key is None:  # of a loose comparison: it cannot tell files apart
        return Pairing([], (), [])
    pairs = [
        Pair(photo.relative_to(images).as_posix(), photo, by_key[key], _split(photo, images))
        for key, photo in keys.items()
        if key in by_key
    ]
    unpaired = [photo for key, photo in keys.items() if key not in by_key]
    unpaired += [mask for key, mask in by_key.items() if key not in keys]
    used = () if words is None else tuple(sorted(words[0] | words[1]))
    return Pairing(sorted(pairs, key=lambda pair: pair.name), used, unpaired)


def _unique(
    files: list[Path], folder: Path, words: set[str] | None, flat: bool
) -> dict[Key, Path] | None:
    """Files by their keys; None if a loose comparison cannot tell two apart."""
    found: dict[Key, Path] = {}
    for file in files:
        first = found.setdefault(_key(file, folder, words, flat), file)
        if first is not file:
            if words is not None or flat:
                return None
            raise ValueError(
                f"{first} and {file} have one name: which of them belongs to the other folder's "
                'file of that name? Move one of them away'
            )
    return found


def _split(photo: Path, images: Path) -> str | None:
    parts: Iterator[str] = (part.casefold() for part in photo.relative_to(images).parent.parts)
    return next((SPLITS[part] for part in parts if part in SPLITS), None)
