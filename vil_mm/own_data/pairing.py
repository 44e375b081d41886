"""Pair photos and masks by file name."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vil_mm.datasets.images import IMAGE_SUFFIXES

MASK_SUFFIXES = (*IMAGE_SUFFIXES, '.gif')  # only Pillow reads masks: they are recoded
SPLITS = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}
MOST, FEW = 0.8, 0.2  # shares of files: one stray file must not hide what the others share
SHOWN = 5  # names in a message

Key = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A photo and its mask.

    Attributes:
        name: Path of the photo relative to its folder, with '/'.
        image, mask: The files.
        split: 'train', 'val' or 'test' if the photo is in a folder of that name, else None.
    """

    name: str
    image: Path
    mask: Path
    split: str | None


@dataclass(frozen=True)
class Pairing:
    """Photos with their masks.

    Attributes:
        pairs: Sorted by name.
        words: Words shared by most masks (or photos), which the comparison ignored.
        unpaired: Photos without a mask and masks without a photo.
    """

    pairs: list[Pair]
    words: tuple[str, ...]
    unpaired: list[Path]


def find_pairs(images: Path, masks: Path) -> Pairing:
    """Pair the photos and masks of two folders, including subfolders.

    A mask has the name of its photo, in upper or lower case. Words that most masks (or photos) have
    and the others lack, such as ``_mask``, are ignored. Subfolders must match, where ``train`` and
    ``training`` count as the same; if none match, file names alone decide, provided that they are
    unique.

    Raises:
        FileNotFoundError: A folder does not exist or has no such files.
        ValueError: Both folders are the same, two files have the same name, or no name matches.
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
    nested, flat = (max(x, key=lambda pairing: len(pairing.pairs)) for x in (found[:2], found[2:]))
    best = nested if nested.pairs else flat
    if not best.pairs:
        some = [
            shorten([file.relative_to(folder).as_posix() for file in files[:3]])
            for folder, files in ((images, photo_files), (masks, mask_files))
        ]
        raise ValueError(
            f'no mask in {masks} has the name of a photo in {images}: there are photos such as '
            f'{some[0]} and masks such as {some[1]}; name each mask after its photo, if you like '
            'with a prefix or suffix that all masks share'
        )
    return best


def shorten(files: Sequence[object]) -> str:
    """The first names of a list and the number of the others."""
    names = [file.name if isinstance(file, Path) else str(file) for file in files]
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more


def _scan(folder: Path, suffixes: Collection[str], other: Path) -> list[Path]:
    """Files with these suffixes below a folder, except hidden ones and the other folder's."""
    if not folder.is_dir():
        raise FileNotFoundError(f'no such folder: {folder} (looked from {Path.cwd()})')
    other = other.resolve()
    present = [
        path
        for path in sorted(folder.rglob('*'))
        if path.is_file()
        and not any(part.startswith('.') for part in path.relative_to(folder).parts)
        and not (path.resolve().is_relative_to(other) and other.is_relative_to(folder.resolve()))
    ]
    found = [path for path in present if path.suffix.lower() in suffixes]
    if not found:
        others = sorted({path.suffix or path.name for path in present})
        raise FileNotFoundError(
            f'no image in {folder}: expected files with the suffixes {", ".join(suffixes)}'
            + (f'; there are {shorten(others)}' if others else '; it is empty')
        )
    return found


def _words(stem: str) -> list[str]:
    return re.findall(r'\d+|[^\W\d_]+', _normalize(stem))


def _normalize(name: str) -> str:
    """A name in lower case, with composed umlauts (macOS decomposes them)."""
    return unicodedata.normalize('NFC', name).casefold()


def _own_words(photos: list[Path], masks: list[Path]) -> tuple[set[str], set[str]]:
    """Words that most photos and hardly any mask have; and the other way round."""
    shares = []
    for files in (photos, masks):
        counts = Counter(word for file in files for word in set(_words(file.stem)))
        shares.append({word: count / len(files) for word, count in counts.items()})
    return tuple(
        {word for word, share in own.items() if share >= MOST and other.get(word, 0) <= FEW}
        for own, other in (shares, shares[::-1])
    )


def _key(path: Path, folder: Path, words: set[str] | None, flat: bool) -> Key:
    parents = [_normalize(part) for part in path.relative_to(folder).parent.parts if not flat]
    parents = [SPLITS.get(part, part) for part in parents]
    if words is None:
        return *parents, _normalize(path.stem)
    key = (*parents, *(word for word in _words(path.stem) if word not in words))
    return key or (_normalize(path.stem),)


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
    if keys is None or by_key is None:
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
    """Files by key; None if two files differ only in what this comparison ignores."""
    found: dict[Key, Path] = {}
    for file in files:
        first = found.setdefault(_key(file, folder, words, flat), file)
        if first is not file:
            if words is not None or flat:
                return None
            raise ValueError(
                f'{first} and {file} have the same name, so it is unclear which one to pair: move '
                'one of them away'
            )
    return found


def _split(photo: Path, images: Path) -> str | None:
    parts: Iterator[str] = (part.casefold() for part in photo.relative_to(images).parent.parts)
    return next((SPLITS[part] for part in parts if part in SPLITS), None)
