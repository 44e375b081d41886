"""Findings about the data of a split: one line per kind, with the first affected file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Finding(NamedTuple):
    """Something wrong or suspicious about one file.

    Attributes:
        kind: Findings of the same kind are reported in one line.
        what: The file and what is wrong with it.
        fix: How to fix it.
        fatal: Whether it stops the run; otherwise it is a warning.
    """

    kind: str
    what: str
    fix: str
    fatal: bool = True


@dataclass
class Group:
    """The first finding of a kind and the number of findings."""

    first: Finding
    count: int = 0

    def line(self) -> str:
        more = f' (and {self.count - 1:,} more)' if self.count > 1 else ''
        return f'{self.first.what}{more}: {self.first.fix}'


@dataclass
class SplitReport:
    """Findings about the data of a split: 'train', 'val' or 'test'."""

    split: str
    num_images: int = 0
    num_read: int = 0
    groups: dict[str, Group] = field(default_factory=dict)

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.groups.setdefault(finding.kind, Group(finding)).count += 1

    @property
    def errors(self) -> list[str]:
        return self._lines(fatal=True)

    @property
    def warnings(self) -> list[str]:
        return self._lines(fatal=False)

    def __str__(self) -> str:
        found = [f'{n} {word}' for n, word in self._numbers() if n]
        return (
            f'{self.split}: {self.num_images:,} images, {self.num_read:,} read, '
            f'{", ".join(found) or "no problems"}'
        )

    def _numbers(self) -> list[tuple[int, str]]:
        return [
            (len(lines), word + 's' * (len(lines) > 1))
            for lines, word in ((self.errors, 'error'), (self.warnings, 'warning'))
        ]

    def _lines(self, fatal: bool) -> list[str]:
        groups = [group for group in self.groups.values() if group.first.fatal == fatal]
        return [f'{self.split} data: {group.line()}' for group in groups]


def listed(values: Iterable[object], most: int = 8) -> str:
    """The first ``most`` values, separated by commas, and how many there are in all."""
    values = list(values)
    more = f', ... ({len(values)} in all)' if len(values) > most else ''
    return ', '.join(map(str, values[:most])) + more


def allowed_values(num_classes: int, reduce_zero_label: bool, ignore_index: int) -> str:
    """The values that a mask file may hold, in words."""
    if reduce_zero_label:
        return f'1 to {num_classes}, or 0 where there is no class'
    return f'0 to {num_classes - 1}, or {ignore_index} where there is no class'
