"""The labels in a set of masks: which occur, which are missing, and how to fix wrong ones."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from vil_mm.datasets.checks.findings import Finding, listed
from vil_mm.datasets.checks.masks import expected
from vil_mm.datasets.checks.pairs import Pair
from vil_mm.datasets.checks.parts import Part

FEW_CLASSES = 20  # with more, a sample may well lack some


class Labels:
    """Collects the labels in the masks of one data set."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.values: set[float] = set()
        self.counts = np.zeros(256, np.int64)
        self.num_masks = 0
        self.lossy = False
        self.first = ''

    def add(self, pair: Pair) -> None:
        if pair.values is not None and pair.counts is not None:
            self.values.update(pair.values.tolist())
            self.counts += pair.counts
            self.num_masks += 1
            self.first = self.first or pair.mask
            self.lossy = self.lossy or pair.mask.lower().endswith(('.jpg', '.jpeg'))

    @property
    def seen(self) -> list[int]:
        """Classes that occur."""
        return np.flatnonzero(self.counts[: self.part.num_classes]).tolist()

    @property
    def one_sided(self) -> bool:
        """Whether at most one of several classes occurs."""
        return bool(self.num_masks) and (self.part.num_classes or 0) > 1 and len(self.seen) < 2

    def check(self, split: str, whole: bool, asked: bool = False) -> Iterator[Finding]:
        """Find classes that do not occur.

        Args:
            split: 'train', 'val' or 'test'; a single class is always an error in 'train'.
            whole: Whether all masks have been read, not a sample.
            asked: Whether to report every missing class, even if there are fewer masks than
                classes.
        """
        number = self.part.num_classes or 0
        missing = sorted(set(range(number)) - set(self.seen))
        if not self.num_masks or not missing or self._has_wrong():
            return
        ignored = bool(self.counts[self.part.ignore_index])
        if self.one_sided and whole and (ignored or split == 'train'):
            yield self._one_class()
        elif asked or (self.num_masks >= number and (whole or number <= FEW_CLASSES)):
            yield self._never(missing)

    def _has_wrong(self) -> bool:
        wrong = np.flatnonzero(self.counts[self.part.num_classes :]) + (self.part.num_classes or 0)
        return bool(set(wrong.tolist()) - {self.part.ignore_index})

    def _one_class(self) -> Finding:
        only = f'class {self._name(self.seen[0])}' if self.seen else 'no class'
        what = f'{only} alone occurs in the {self._masks()}, whose values are {self._listed()}'
        return Finding('one class', what, self._missing_fix())

    def _never(self, missing: list[int]) -> Finding:
        noun = 'class' if len(missing) == 1 else 'classes'
        verb = 'occurs' if len(missing) == 1 else 'occur'
        names = listed(map(self._name, missing), 5)
        what = f'{noun} {names} never {verb} in the {self._masks()}, whose values are'
        return Finding(
            'missing classes', f'{what} {self._listed(20)}', self._missing_fix(), fatal=False
        )

    def _masks(self) -> str:
        number = f'{self.num_masks:,} masks' if self.num_masks > 1 else 'mask'
        return f'{number} read of {os.path.dirname(self.first)}'

    def _name(self, label: int) -> str:
        classes = self.part.classes
        return f'{classes[label]!r}' if label < len(classes) else str(label)

    def _listed(self, most: int = 8) -> str:
        return listed((_plain(value) for value in sorted(self.values)), most)

    def _missing_fix(self) -> str:
        values, number, ignored = self.values, self.part.num_classes or 0, self.part.ignore_index
        if self.part.reduce_zero_label and 0 in values and max(values - {255}) == number - 1:
            return (
                'reduce_zero_label=True takes 0 for "no class" and 1 for the first class: leave it '
                'out if 0 is a class'
            )
        if ignored in values and len(values) <= number:
            recode = ', '.join(f'{_plain(v)} -> {i}' for i, v in enumerate(sorted(values)))
            return f'{ignored} stands for "no class"; if it is a class, recode the masks: {recode}'
        if not self.part.reduce_zero_label and 0 not in values:
            return 'does the first class count as 1? Then subtract 1, or set reduce_zero_label=True'
        return (
            f'expected {expected(self.part)}; if the class is not just rare, check that '
            'metainfo.classes matches these masks'
        )

    def wrong_fix(self) -> str:
        """How to fix values that are not a class."""
        number, values = self.part.num_classes or 0, sorted(self.values - {self.part.ignore_index})
        if self.lossy:
            return 'JPEG changes values: save masks as PNG'
        if values == list(range(1, number + 1)) and not self.part.reduce_zero_label:
            return 'they count from 1: set reduce_zero_label=True, or subtract 1'
        if values == list(range(number + 1)) and not self.part.reduce_zero_label:
            return (
                f'they have {number + 1} values: if 0 means "no class" set reduce_zero_label=True, '
                'otherwise name every class in metainfo.classes'
            )
        ignored = self.part.ignore_index
        if [x for x in values if x >= number] == [255] and len(self.values) > 2:
            return (
                f'255 stands for "no class"? Then set ignore_index=255 of the heads, not {ignored}'
            )
        everything = sorted(self.values)
        if len(everything) <= max(number, 2) and max(everything) >= 2 * number:
            recode = ', '.join(f'{_plain(v)} -> {i}' for i, v in enumerate(everything))
            return f'they look like levels of grey: recode them, {recode}'
        return (
            'replace them by class numbers, or add the missing classes to metainfo.classes and '
            'num_classes of the heads'
        )


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value
