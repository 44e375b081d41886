"""Check an image and its mask, read by the pipeline's own transforms."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from mmcv.transforms import BaseTransform

from vil_mm.datasets.checks.files import is_cut_off, is_deep
from vil_mm.datasets.checks.findings import Finding
from vil_mm.datasets.checks.masks import (
    check_raw,
    check_size,
    check_values,
    count_values,
    present,
    raw_mask,
)
from vil_mm.datasets.checks.parts import REMOTE, Part, find_file, loads_mask
from vil_mm.datasets.pixel_limit import TooManyPixelsError, check_pixels

COPY_AGAIN = 'copy or export it again, or take it out of the set'


@dataclass
class Pair:
    """What was read for one sample.

    Attributes:
        image: The image file.
        mask: The mask file, if it was read.
        values: Values in the mask file.
        counts: ``(256,)``, pixels of each label after ``reduce_zero_label`` and ``label_map``.
        findings: What is wrong.
    """

    image: str = ''
    mask: str = ''
    values: np.ndarray | None = None
    counts: np.ndarray | None = None
    findings: list[Finding] = field(default_factory=list)


def read_pair(part: Part, index: int, masks_only: bool = False) -> Pair:
    """Read a sample by the pipeline's own loading transforms.

    Args:
        part: The data set.
        index: Index of the sample.
        masks_only: Do not read the image.
    """
    info = copy.deepcopy(part.infos[index])
    pair = Pair(image=str(info.get('img_path', '')))
    for load in part.loads:
        if masks_only and not loads_mask(load):
            continue
        path = find_file(load, info)
        findings = list(_load(part, load, path, info, pair))
        pair.findings += findings
        if any(finding.fatal for finding in findings) or 'skipped' in [f.kind for f in findings]:
            break
    return pair


def unreadable(path: str, error: Exception) -> Finding:
    """A finding about a file that cannot be read, with a short reason."""
    return Finding('unreadable files', f'{path} cannot be read ({reason(path, error)})', COPY_AGAIN)


def reason(path: str, error: Exception) -> str:
    """Why a file cannot be read; its content says more than a decoder's error."""
    if REMOTE not in path:
        try:
            with open(path, 'rb') as file:
                start = file.read(64)
        except OSError as missing:
            return (missing.strerror or str(missing)).lower()
        if not start:
            return 'the file is empty'
        if is_cut_off(path):
            return 'it is cut off'
        if start.startswith(b'version https://git-lfs'):
            return 'it is a pointer of Git LFS: run git lfs pull'
        if not any(byte > 126 or byte < 9 for byte in start):
            return 'it is text, not an image'
    lines = str(error).strip().splitlines()
    vague = ('no image', 'failed to load', 'cannot identify image file')  # or name a buffer
    if not lines or lines[0].startswith(vague):
        return 'no image of a known format, or a damaged one'
    return lines[0]


def _load(part: Part, load: BaseTransform, path: str, info: dict, pair: Pair) -> Iterator[Finding]:
    """Let one transform read its file, and check the result."""
    try:
        if REMOTE not in path:
            check_pixels(path)
        raw = raw_mask(load, path) if loads_mask(load) else None
        loaded = load.transform(info) if raw is None or raw.ndim == 2 else info
    except TooManyPixelsError as error:
        what, _, fix = str(error).partition(': ')
        yield Finding('large files', what, fix)
        return
    except Exception as error:  # damaged files raise errors of almost any type
        yield unreadable(path, error)
        return
    if raw is not None:
        yield from check_raw(path, raw, pair.image)
        if raw.ndim == 2:
            labels, size = info['gt_seg_map'], info.get('ori_shape')
            pair.mask, pair.values, pair.counts = path, present(raw), count_values(labels)
            if REMOTE not in path and is_cut_off(path):
                yield _cut_off(path)
            if size is not None:
                yield from check_size(part, path, raw.shape, pair.image, tuple(size))
            yield from check_values(part, path, raw, labels)
        return
    if loaded is None:  # as ignore_empty=True asks for
        yield Finding(
            'skipped',
            f'{path} cannot be read and is skipped (ignore_empty)',
            COPY_AGAIN,
            fatal=False,
        )
        return
    if 'img' in info:
        yield from _check_image(part, load, path, info['img'])


def _cut_off(path: str) -> Finding:
    return Finding('cut off', f'{path} is cut off: its lower part is missing', COPY_AGAIN)


def _check_image(
    part: Part, load: BaseTransform, path: str, image: np.ndarray
) -> Iterator[Finding]:
    if REMOTE not in path and is_cut_off(path):
        yield _cut_off(path)
    channels = image.shape[2] if image.ndim == 3 else 1
    if part.channels and channels != part.channels:
        yield Finding(
            'channels',
            f'{path} is loaded with {channels} channels, the model takes {part.channels}',
            "set color_type of LoadImageFromFile ('color' gives 3), or in_channels, mean and std "
            'of the model',
        )
    if getattr(load, 'color_type', '').startswith(('color', 'grayscale')):
        yield from _check_depth(path)


def _check_depth(path: str) -> Iterator[Finding]:
    """Find images of more than 8 bits that are read as 8 bits."""
    if REMOTE not in path and is_deep(path):
        yield Finding(
            'deep images',
            f'{path} has more than 8 bits a channel, of which 8 are read',
            "color_type='unchanged' of LoadImageFromFile keeps all",
            fatal=False,
        )
