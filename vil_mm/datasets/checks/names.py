"""Check that the files of a data set exist, from folder listings rather than file by file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from vil_mm.datasets.checks.findings import Finding, listed
from vil_mm.datasets.checks.parts import REMOTE, Part
from vil_mm.datasets.checks.split_list import check_list
from vil_mm.datasets.images import IMAGE_SUFFIXES

MAX_NAMES = 100_000  # names of a folder tree to inspect if a suffix matches nothing


class Names:
    """Names in folders, each of which is listed only once."""

    def __init__(self) -> None:
        self.list = lru_cache(maxsize=None)(_list_names)

    def has(self, path: str) -> bool:
        """Whether a file exists; ``isfile`` covers case-insensitive file systems."""
        folder, name = os.path.split(path)
        return REMOTE in path or name in self.list(folder) or os.path.isfile(path)


def _list_names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder or '.'))
    except OSError:
        return frozenset()


def check_names(part: Part) -> Iterator[Finding]:
    """Find images with another suffix, missing files, and errors in a split list."""
    names = Names()
    if not part.infos:
        yield _no_images(part)
        return
    if part.img_suffix and not part.ann_file:
        yield from _not_read(part, names)
    broken = list(check_list(part)) if part.img_suffix and os.path.isfile(part.ann_file) else []
    yield from broken
    if part.ann_file and not any(finding.fatal for finding in broken):
        yield from _missing_images(part, names)
    if part.reads_masks and not any(finding.fatal for finding in broken):
        yield from _missing_masks(part, names)


def _missing_images(part: Part, names: Names) -> Iterator[Finding]:
    """Find missing images of a list; without a list, they come from a folder and do exist."""
    for info in part.infos:
        for key in ('img_path', 'img_path2'):
            path = info.get(key)
            if isinstance(path, str) and not names.has(path):
                yield Finding(
                    'missing images',
                    f'no image {path}',
                    f'add it, or take it out of {part.ann_file}',
                )


def _missing_masks(part: Part, names: Names) -> Iterator[Finding]:
    fix = ''
    for info in part.infos:
        path = info.get('seg_map_path')
        if path is None:
            yield Finding(
                'no masks',
                f'no mask of {info["img_path"]}',
                'the pipeline has LoadAnnotations, so set data_prefix.seg_map_path',
            )
        elif not names.has(path):
            fix = fix or _mask_fix(part, names)
            yield Finding('missing masks', f'no mask {path} of {info["img_path"]}', fix)


def _mask_fix(part: Part, names: Names) -> str:
    """The suffix that matches most masks, or other advice."""
    fits: Counter[str] = Counter()
    for info in part.infos[:1000]:
        folder, name = os.path.split(info['seg_map_path'])
        stem = name.removesuffix(part.seg_map_suffix or Path(name).suffix)
        fits.update(_list_endings(names.list(folder), stem))
    if fits:
        suffix, number = fits.most_common(1)[0]
        own = fits[part.seg_map_suffix or '']
        of = min(len(part.infos), 1000)
        if not own and not suffix.lower().endswith(IMAGE_SUFFIXES):
            return f'{folder} has *{suffix}: save masks as PNG, with the class of each pixel'
        if number > own:
            return f'set seg_map_suffix={suffix!r}, which fits {number:,} of {of:,}'
    folder = os.path.dirname(part.infos[0]['seg_map_path'])
    there = sorted(name for name in names.list(folder) if not name.startswith('.'))
    if not fits and there:
        return (
            'a mask needs the same name as its image except for the suffix, but the files in '
            f'{folder} are {listed(there, 3)}: rename them'
        )
    return 'add the mask, or take the image out of the set'


def _list_endings(names: frozenset[str], stem: str) -> list[str]:
    """What follows the stem in names that begin with it, but not with a longer stem."""
    return [
        name[len(stem) :]
        for name in (names if len(names) <= 1000 else _guess_names(names, stem))
        if name.startswith(stem) and not name[len(stem) : len(stem) + 1].isalnum()
    ]


def _guess_names(names: frozenset[str], stem: str) -> list[str]:
    """Try only common names: in a large folder, every stem would take a pass over all names."""
    usual = ('', '_mask', '_label', '_labels', '_gt', '_seg', '_segmentation', '_annotation')
    endings = [s for suffix in IMAGE_SUFFIXES for s in (suffix, suffix.upper())]
    return [n for word in usual for end in endings if (n := f'{stem}{word}{end}') in names]


def _not_read(part: Part, names: Names) -> Iterator[Finding]:
    """Find images with another suffix next to those that are read: .JPG or .jpeg beside .jpg."""
    masks = {os.path.dirname(info.get('seg_map_path') or '') for info in part.infos}
    for folder in sorted({os.path.dirname(info['img_path']) for info in part.infos} - masks):
        for name in sorted(names.list(folder)):
            if not name.endswith(part.img_suffix) and _is_image(name):
                yield Finding(
                    'images not read',
                    f'{folder}/{name} is not read',
                    f'img_suffix={part.img_suffix!r}, so rename it, or move it away',
                    fatal=False,
                )


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith('.')


def _no_images(part: Part) -> Finding:
    images, masks = part.folder('img_path'), part.folder('seg_map_path')
    if part.ann_file:
        what = f'no image is left of {part.ann_file}'
        fix = 'it is empty, or filter_cfg or metainfo.classes leave nothing of it'
    else:
        what, fix = f'no image {images}/*{part.img_suffix or ""}', 'put images there'
        found, other = _suffixes(images), _suffixes(masks)
        if other[part.img_suffix] and found[part.seg_map_suffix]:
            what += f', but {other[part.img_suffix]:,} in {masks}'
            fix = 'are data_prefix.img_path and data_prefix.seg_map_path swapped?'
        elif found:
            suffix, number = found.most_common(1)[0]
            fix = f'set img_suffix={suffix!r}, which fits {number:,} files'
    return Finding('no images', what, fix)


def _suffixes(folder: str) -> Counter[str]:
    """Count the images below a folder by suffix."""
    counts: Counter[str] = Counter()
    for _, _, files in os.walk(folder) if folder and REMOTE not in folder else ():
        counts.update(Path(name).suffix for name in files if _is_image(name))
        if counts.total() > MAX_NAMES:
            break
    return counts
