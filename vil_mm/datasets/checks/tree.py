"""Check a prepared data set on disk, and report problems and how to fix them."""

from __future__ import annotations

import itertools
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from vil_mm.datasets.checks.files import PairNames, Problem, check_pairs
from vil_mm.datasets.checks.known_sets import KNOWN_SETS, KnownSet, Split
from vil_mm.datasets.checks.tree_report import TreeReport
from vil_mm.progress import Progress, no_progress

BATCH = 32  # files or pairs that a process checks at a time
MAX_NEIGHBOURS = 100  # subfolders to search if the given folder is not that of the set


class Leaf(NamedTuple):
    """A folder of files: that of a class or city in a split or, without a name, the split's own."""

    split: Split
    name: str = ''

    @property
    def images(self) -> str:
        return '/'.join(filter(None, (self.split.images, self.name)))

    @property
    def annotations(self) -> str:
        """Empty if the set has none."""
        top = self.split.annotations
        return f'{top}/{self.name}' if top and self.name else top


class Listing(NamedTuple):
    """Sorted names in a folder; links are followed."""

    files: list[str]
    folders: list[str]
    broken: list[str]


def check_tree(
    name: str,
    root: str | Path,
    *,
    workers: int | None = None,
    quick: bool = False,
    any_count: bool = False,
    progress: Progress = no_progress,
) -> TreeReport:
    """Check a data set on disk.

    Folders are listed one by one, so memory does not grow with the number of files.

    Args:
        name: A key of ``KNOWN_SETS``.
        root: Folder of the set.
        workers: Processes that read files, by default one per CPU; 1 reads in this process.
        quick: Read only headers and end markers, no label values.
        any_count: Accept a subset: files and class folders may be missing.
        progress: Progress callback.

    Raises:
        NotADirectoryError: ``root`` is not a folder.
        ValueError: The set is not known.
        concurrent.futures.process.BrokenProcessPool: The system killed a process.
    """
    if name not in KNOWN_SETS:
        raise ValueError(f'unknown data set {name!r}: expected one of {", ".join(KNOWN_SETS)}')
    known, root = KNOWN_SETS[name], Path(root)
    if not root.is_dir():
        raise NotADirectoryError(f'no folder {root}: expected the folder of {known.title}')
    report = TreeReport(known, root, quick)
    better = _better_root(known, root)
    if better:
        report.add('wrong folder', f'{root} is not the folder of the set, this is: {better}')
        return report
    leaves = _check_folders(report, any_count)
    _check_names(report, leaves, any_count, progress)
    total = sum(report.counts.values())
    tasks = _batches(known, root, leaves)
    for findings, num_files in _run(tasks, known, root, quick, workers or os.cpu_count() or 1):
        report.num_read += num_files
        progress('files', report.num_read, total)
        for kind, file in findings:
            report.add(kind, file)
    return report


def _better_root(known: KnownSet, root: Path) -> Path | None:
    """A folder above or below ``root`` that holds more of the set's folders, if any."""

    def score(folder: Path) -> int:
        return sum((folder / part).is_dir() for part in known.folders)

    above = list(root.resolve().parents)[:3]
    below = [root / name for name in _list(root).folders[:MAX_NEIGHBOURS]]
    deeper = [folder / name for folder in below for name in _list(folder).folders[:MAX_NEIGHBOURS]]
    best = max([root, *above, *below, *deeper], key=score)  # the first of equals
    return best if score(best) > score(root) else None


def _check_folders(report: TreeReport, any_count: bool) -> list[Leaf]:
    """Report missing and unexpected folders; return those whose files to check."""
    for file in report.known.lists:
        if (report.root / file).is_file():
            report.add('lists of images', file)
    leaves = []
    for split in report.known.splits:
        inside: set[str] = set()
        for top in filter(None, (split.images, split.annotations)):
            if (report.root / top).is_dir():
                report.counts[top] = 0
                inside.update(_check_top(report, split, top, any_count))
            else:
                report.add('missing folders', top)
        # include classes or cities found on one side only: their files lack partners
        names = sorted(inside & set(split.folders)) if split.folders else ['']
        leaves += [Leaf(split, name) for name in names]
    return leaves


def _check_top(report: TreeReport, split: Split, top: str, any_count: bool) -> list[str]:
    """Report problems in a split's folder, not deeper; return its subfolders."""
    listing = _list(report.root / top)
    for name in listing.folders:
        if name not in split.folders and not name.startswith('.'):
            report.add('unexpected folders', f'{top}/{name}')
    if split.folders and not any_count:
        for name in sorted(set(split.folders) - set(listing.folders)):
            report.add('missing folders', f'{top}/{name}')
    known = report.known
    suffixes = (*known.image_suffixes, *filter(None, (known.label_suffix,)))
    for name in listing.files if split.folders else ():
        kind = 'unsorted files' if _is_data(name, suffixes) else 'other files'
        report.add(kind, f'{top}/{name}')
    return listing.folders


def _check_names(
    report: TreeReport, leaves: list[Leaf], any_count: bool, progress: Progress
) -> None:
    """Count and pair file names, and report problems with them."""
    known = report.known
    for index, leaf in enumerate(leaves):
        progress('folders', index + 1, len(leaves))
        _check_listing(report, leaf, leaf.images, known.image_suffixes)
        if leaf.annotations:
            _check_listing(report, leaf, leaf.annotations, (known.label_suffix,))
        pairs = _pairs(known, report.root, leaf)
        images, labels = ([pair[i] for pair in pairs if pair[i]] for i in (0, 1))
        _count(report, leaf.split.images, len(images))
        if leaf.annotations:
            _count(report, leaf.split.annotations, len(labels))
            for image, annotation in pairs:
                _check_partner(report, leaf, image, annotation)
        if leaf.name:
            _check_number(report, leaf, len(images), any_count)
    for split in known.splits:
        for top in (split.images, split.annotations):
            number = report.counts.get(top)
            if number == 0 or (number not in (None, split.count) and not any_count):
                expected = 'some' if any_count else f'{split.count:,}'
                report.add('wrong numbers of files', f'{top}: {number:,}, expected {expected}')


def _count(report: TreeReport, top: str, number: int) -> None:
    if top in report.counts:  # else it is missing, which has been reported
        report.counts[top] += number


def _check_number(report: TreeReport, leaf: Leaf, number: int, any_count: bool) -> None:
    """Report a class or city folder with no, too few or too many images."""
    low, high = leaf.split.per_folder or (1, number)
    low, high = (1, number) if any_count else (low, high)
    if (report.root / leaf.images).is_dir() and not low <= number <= high:
        expected = 'some' if low == 1 else low if low == high else f'{low} to {high}'
        report.add('wrong numbers of files', f'{leaf.images}: {number}, expected {expected}')


def _check_listing(report: TreeReport, leaf: Leaf, folder: str, suffixes: tuple[str, ...]) -> None:
    """Report files and folders that do not belong to the set."""
    listing = _list(report.root / folder)
    for name in listing.broken:
        report.add('links that lead nowhere', f'{folder}/{name}')
    for name in listing.files:
        if not _is_data(name, (*suffixes, *report.known.beside)):
            report.add('other files', f'{folder}/{name}')
    for name in listing.folders if leaf.name else ():
        report.add('unexpected folders', f'{folder}/{name}')


def _check_partner(
    report: TreeReport, leaf: Leaf, image: str | None, annotation: str | None
) -> None:
    if image is None:
        report.add('annotations without image', str(annotation))
    elif annotation is None:
        known = report.known
        stem = Path(image).name.removesuffix(known.image_suffixes[0])
        raw = f'{leaf.annotations}/{stem}{known.raw_label_suffix}'
        if known.raw_label_suffix and (report.root / raw).is_file():
            report.add('annotations to convert', raw)
        else:
            report.add('images without annotation', image)


def _pairs(known: KnownSet, root: Path, leaf: Leaf) -> list[PairNames]:
    """Pair the images and annotations of a leaf by name; without annotations, only images."""

    def named(folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
        names = _list(root / folder).files if folder else []
        kept = [name for name in names if _is_data(name, suffixes)]
        cut = suffixes[0] if known.label_suffix else ''
        return {name.removesuffix(cut): f'{folder}/{name}' for name in kept}

    images = named(leaf.images, known.image_suffixes)
    labels = named(leaf.annotations, (known.label_suffix,))
    return [(images.get(key), labels.get(key)) for key in sorted(images.keys() | labels.keys())]


def _batches(known: KnownSet, root: Path, leaves: Iterable[Leaf]) -> Iterator[list[PairNames]]:
    pairs = itertools.chain.from_iterable(_pairs(known, root, leaf) for leaf in leaves)
    while batch := list(itertools.islice(pairs, BATCH)):
        yield batch


def _run(
    tasks: Iterator[list[PairNames]], known: KnownSet, root: Path, quick: bool, workers: int
) -> Iterator[tuple[list[Problem], int]]:
    """Check batches in order, a few at a time; yields problems and number of files."""
    common = (known.labels, quick)
    if workers == 1:
        for batch in tasks:
            yield check_pairs(str(root), batch, *common), _num_files(batch)
        return
    pool = ProcessPoolExecutor(workers, initializer=_ignore_interrupt)
    try:
        waiting: deque = deque()
        for batch in itertools.chain(tasks, [None] * 4 * workers):
            if batch is not None:
                task = pool.submit(check_pairs, str(root), batch, *common)
                waiting.append((task, _num_files(batch)))
            if waiting and (batch is None or len(waiting) == 4 * workers):
                task, number = waiting.popleft()
                yield task.result(), number
    finally:  # also after an interrupt: drop waiting tasks
        pool.shutdown(cancel_futures=True)


def _ignore_interrupt() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _num_files(batch: Iterable[PairNames]) -> int:
    return sum(name is not None for pair in batch for name in pair)


def _list(folder: Path) -> Listing:
    """List a folder; empty if it does not exist or cannot be read."""
    files, folders, broken = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                kind = folders if entry.is_dir() else files if entry.is_file() else broken
                kind.append(entry.name)
    except OSError:
        pass
    return Listing(sorted(files), sorted(folders), sorted(broken))


def _is_data(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether the data set classes would read a file; they skip hidden ones."""
    return name.endswith(suffixes) and not name.startswith('.')
