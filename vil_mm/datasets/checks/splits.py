"""Compare training data with validation and test data: shifted labels, shared images."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from vil_mm.datasets.checks.check import SAMPLE, SEED
from vil_mm.datasets.checks.findings import Finding, SplitReport, listed
from vil_mm.datasets.checks.parts import REMOTE, Part


def check_splits(parts: dict[str, list[Part]]) -> list[SplitReport]:
    """Compare the training set with each of the others."""
    reports = []
    train = parts.get('train', [])
    for split in (name for name in parts if name != 'train' and train):
        report = SplitReport(split)
        report.add(_other_labels(train, parts[split]))
        report.add(_same_images(train, parts[split]))
        reports.append(report)
    return reports


def _other_labels(train: list[Part], other: list[Part]) -> Iterator[Finding]:
    masks = [[part for part in parts if part.reads_masks] for parts in (train, other)]
    ours, theirs = ({part.reduce_zero_label for part in parts} for parts in masks)
    if ours and theirs and ours.isdisjoint(theirs):
        yield Finding(
            'reduce_zero_label',
            f'reduce_zero_label={theirs.pop()} here, but {ours.pop()} in the train data: the same '
            'class would have two numbers',
            'set it alike in both data sets',
        )


def _same_images(train: list[Part], other: list[Part]) -> Iterator[Finding]:
    ours, theirs = (_real_images(parts) for parts in (train, other))
    same = sorted(ours.keys() & theirs.keys()) or _same_content(ours, theirs)
    if same:
        yield Finding(
            'same images',
            f'{len(same):,} of {len(theirs):,} images are also in the train data: '
            f'{listed((theirs[path] for path in same), 2)}',
            'scores on them say nothing about other images; keep both apart',
            fatal=False,
        )


def _real_images(parts: list[Part]) -> dict[str, str]:
    """The data set's path of each image by its real path; links to folders are followed."""
    folders: dict[str, str] = {}
    images = {}
    for part in parts:
        for info in part.infos:
            path = info.get('img_path')
            if isinstance(path, str) and REMOTE not in path:
                folder, name = os.path.split(path)
                if folder not in folders:
                    folders[folder] = os.path.realpath(folder)
                images[f'{folders[folder]}/{name}'] = path
    return images


def _same_content(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Find copies among a sample of images with equal names."""
    named = {os.path.basename(path): path for path in ours}
    pairs = [(p, named[name]) for p in theirs if (name := os.path.basename(p)) in named]
    random.Random(SEED).shuffle(pairs)
    return sorted(path for path, twin in pairs[:SAMPLE] if _equal(path, twin))


def _equal(one: str, other: str) -> bool:
    try:
        if os.path.getsize(one) != os.path.getsize(other):
            return False
        with open(one, 'rb') as first, open(other, 'rb') as second:
            return first.read() == second.read()
    except OSError:
        return False
