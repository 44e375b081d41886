"""Check a split: first the names of all files, then some pairs, then their labels."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vil_mm.datasets.checks.findings import Finding, SplitReport
from vil_mm.datasets.checks.labels import Labels
from vil_mm.datasets.checks.names import check_names
from vil_mm.datasets.checks.pairs import Pair, read_pair
from vil_mm.datasets.checks.parts import Part
from vil_mm.progress import Progress, no_progress, track

SAMPLE = 50  # pairs read before a run
SEED = 0


def check_part(
    part: Part,
    split: str,
    *,
    whole: bool = False,
    workers: int = 1,
    progress: Progress = no_progress,
) -> SplitReport:
    """Check one data set of a split.

    Args:
        part: The data set.
        split: 'train', 'val' or 'test'.
        whole: Read every pair instead of a sample of :data:`SAMPLE`.
        workers: Number of reader threads.
        progress: Progress callback.
    """
    asked, report = whole, SplitReport(split, num_images=len(part.infos))
    report.add(check_names(part))
    report.add(check_class_labels(part))
    if report.errors:
        return report
    chosen = _chosen(len(part.infos), whole)
    whole = len(chosen) == len(part.infos)
    labels = Labels(part)
    steps = track(_read(part, chosen, workers), len(chosen), f'{split} pairs', progress)
    for pair in steps:
        report.num_read += 1
        report.add(pair.findings)
        labels.add(pair)
    if labels.one_sided and not whole and not report.errors:  # make sure before reporting it
        whole = True
        rest = sorted(set(range(len(part.infos))) - set(chosen))
        for pair in _read(part, rest, workers, masks_only=True):
            report.add(pair.findings)
            labels.add(pair)
    if 'values' in report.groups:
        group = report.groups['values']
        group.first = group.first._replace(fix=labels.wrong_fix())
    if not report.errors:
        report.add(labels.check(split, whole, asked))
    return report


def _chosen(number: int, whole: bool) -> list[int]:
    if whole or number <= SAMPLE:
        return list(range(number))
    return sorted(random.Random(SEED).sample(range(number), SAMPLE))


def _read(
    part: Part, chosen: Sequence[int], workers: int, masks_only: bool = False
) -> Iterator[Pair]:
    """Read pairs in order, in threads: decoders release the GIL."""
    if workers == 1:
        yield from (read_pair(part, index, masks_only) for index in chosen)
        return
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(chosen), 16 * workers):
            batch = chosen[start : start + 16 * workers]
            yield from pool.map(lambda index: read_pair(part, index, masks_only), batch)


def check_class_labels(part: Part) -> Iterator[Finding]:
    """Find images or boxes whose class the model does not have."""
    number = part.num_outputs
    for info in part.infos if number else ():
        for label in _list_labels(info):
            if not 0 <= label < number:
                yield Finding(
                    'class labels',
                    f'{info.get("img_path")} has the class {label}, the model has {number} '
                    f'(0 to {number - 1})',
                    'set num_classes of the head, or correct the list or folders of classes',
                )


def _list_labels(info: dict) -> list[int]:
    if 'gt_label' in info:
        return np.atleast_1d(info['gt_label']).tolist()
    boxes = info.get('instances') or ()
    return [box['bbox_label'] for box in boxes if 'bbox_label' in box]
