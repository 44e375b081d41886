"""Which value, palette index or colour of the masks stands for which class."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vil_mm.datasets.label_maps import IGNORE_INDEX
from vil_mm.errors import ArgumentError
from vil_mm.own_data.guessing import IGNORE, NEAR, guess_table, has_soft_edges
from vil_mm.own_data.masks import COLOUR, SHOWN, Survey, count, format_share

REST = 'rest'  # reserved word of ``values`` for all other values


@dataclass(frozen=True)
class Coding:
    """How masks become label maps.

    Attributes:
        classes: Names, in label order.
        found: What the masks hold, read the way this coding needs it.
        table: Label of each code; 255 for pixels without a class.
        rest: Label of all other codes, or None.
        snap: Give other codes the label of the nearest assigned code. If there are more than two
            assigned codes, a code far from all of them gets 255.
    """

    classes: tuple[str, ...]
    found: Survey
    table: dict[int, int]
    rest: int | None
    snap: bool

    @property
    def kind(self) -> str:
        """How masks are read, see ``Survey``."""
        return self.found.kind

    def apply(self, codes: np.ndarray) -> np.ndarray:
        """The label map ``(H, W)``, uint8, for the output of ``read_codes``."""
        found = sorted(count(codes))
        labels = np.array([self.label(code) for code in found], np.uint8)
        return labels[np.searchsorted(found, codes)]

    def label(self, code: int) -> int:
        """The label of one code.

        Raises:
            ValueError: The code belongs to no class.
        """
        if code in self.table:
            return self.table[code]
        if self.rest is not None:
            return self.rest
        if not self.snap:
            raise ValueError(f'the value {self.found.name_code(code)} belongs to no class')
        nearest = min(self.table, key=lambda other: self.found.distance(code, other))
        too_far = len(self.table) > 2 and self.found.distance(code, nearest) > NEAR
        return IGNORE_INDEX if too_far else self.table[nearest]

    def count_pixels(self) -> Counter[int]:
        """Pixels of each label in all masks."""
        pixels: Counter[int] = Counter()
        for code, number in self.found.codes.items():
            pixels[self.label(code)] += number
        return pixels

    def lines(self) -> list[str]:
        """The mapping, one line per class, with the share of each code's pixels."""
        counts, total, lines = self.count_pixels(), self.found.codes.total(), []
        for label in (*range(len(self.classes)), IGNORE_INDEX):
            codes = [code for code, given in sorted(self.table.items()) if given == label]
            parts = [self.found.name_with_share(code) for code in codes[:SHOWN]]
            parts += [f'{len(codes) - SHOWN} more'] * (len(codes) > SHOWN)
            parts += ['all others'] * (self.rest == label)
            near = counts[label] - sum(self.found.codes[code] for code in codes)
            if self.snap and near:
                parts.append(f'those near ({format_share(near, total)})')
            name = self.classes[label] if label != IGNORE_INDEX else 'no class'
            if parts:
                lines.append(f'{", ".join(parts)} -> {label} {name}')
        return lines


def choose_coding(
    found: Survey, classes: Sequence[str] | None, values: Sequence[str] | None
) -> Coding:
    """Assign codes to classes: as the user says, or by the rules of docs/own_data.md.

    Args:
        found: What the masks hold.
        classes: Names, in label order; None takes them from ``values``.
        values: ``name=value`` or ``name=value,value`` for each class. ``ignore=value`` marks pixels
            without a class, the value ``rest`` all other values, and ``#rrggbb`` a colour.

    Raises:
        ValueError: Names or values do not fit the masks; the message lists what they hold.
    """
    named = [(entry, *_parse(entry)) for entry in values or ()]
    if classes is None and named:
        classes = [name for _, name, _ in named if name != IGNORE]
    _check_classes(classes, found)
    if any(text.startswith('#') for *_, texts in named for text in texts):
        found = found.by_colour()
    rest = None
    if named:
        table, rest = _read_table(named, classes, found.kind)
    else:
        table = guess_table(found, classes)
    unassigned = [code for code in found.codes if code not in table] if rest is None else []
    if unassigned and not has_soft_edges(found, table):
        others = Counter({code: found.codes[code] for code in unassigned})
        raise ArgumentError(
            f'the masks also hold {found.list_codes(others)}; give them to a class '
            f'(CLASS=VALUE,VALUE), to {IGNORE}, or to all others: CLASS={REST}',
            values=values,
        )
    coding = Coding(tuple(classes), found, table, rest, bool(unassigned))
    _check_occurrence(coding)
    return coding


def _check_classes(classes: Sequence[str] | None, found: Survey) -> None:
    held = f'the masks hold {len(found.codes)} values: {found.list_codes()}'
    if not classes:
        names = ' '.join(f'NAME{i}' for i in range(min(len(found.codes), SHOWN)))
        raise ArgumentError(f'name the classes, for example {names}; {held}', classes=None)
    if len(classes) < 2:
        raise ArgumentError(
            f'only one name, but the background is a class too; {held}', classes=classes
        )
    if len(classes) > IGNORE_INDEX:
        raise ValueError(f'{len(classes)} classes: a mask of 8 bits has room for {IGNORE_INDEX}')
    twice = sorted(name for name, times in Counter(classes).items() if times > 1)
    if twice:
        raise ArgumentError(f'names {", ".join(twice)} twice', classes=classes)


def _check_occurrence(coding: Coding) -> None:
    counts = coding.count_pixels()
    present = [name for label, name in enumerate(coding.classes) if counts[label]]
    held = coding.found.list_codes()
    if not present:
        raise ValueError(f'no class occurs in the masks, which hold {held}')
    if len(present) == 1:
        raise ValueError(
            f'only one class occurs in the masks ({present[0]}), so there is nothing to learn; '
            f'the masks hold {held}'
        )


def _parse(entry: str) -> tuple[str, list[str]]:
    name, _, texts = entry.rpartition('=')
    split = [text.strip() for text in texts.split(',')]
    if not name or not all(re.fullmatch(rf'#[0-9a-fA-F]{{6}}|\d+|{REST}', x) for x in split):
        raise ArgumentError(
            "expected CLASS=VALUE or CLASS=VALUE,VALUE, with a colour as '#rrggbb' and "
            f'{REST} for all other values; {IGNORE}=VALUE has no class',
            values=entry,
        )
    return name, split


def _read_table(
    named: Sequence[tuple[str, str, list[str]]], classes: Sequence[str], kind: str
) -> tuple[dict[int, int], int | None]:
    """The label of each code that the user names, and of all others."""
    table: dict[int | str, int] = {}
    for entry, name, texts in named:
        label = _find_label(entry, name, classes)
        for text in texts:
            if text != REST and (kind == COLOUR) != text.startswith('#'):
                raise ArgumentError("masks are read by colour: write '#rrggbb'", values=entry)
            code = text if text == REST else int(text.lstrip('#'), 16 if kind == COLOUR else 10)
            if table.setdefault(code, label) != label:
                raise ArgumentError(f'{text} already has another class', values=entry)
    missing = [name for label, name in enumerate(classes) if label not in table.values()]
    if missing:
        raise ArgumentError(
            f'no value for {", ".join(missing)}: name one, or all other values, CLASS={REST}',
            values=[entry for entry, *_ in named],
        )
    rest = table.pop(REST, None)
    return table, rest


def _find_label(entry: str, name: str, classes: Sequence[str]) -> int:
    if name in classes:
        return list(classes).index(name)
    if name == IGNORE:
        return IGNORE_INDEX
    close = difflib.get_close_matches(name, classes, n=1)
    hint = f'did you mean {close[0]}? ' if close else ''
    raise ArgumentError(
        f'{name} is not a class: {hint}The classes are {", ".join(classes)}; {IGNORE} is for '
        'pixels without a class',
        values=entry,
    )
