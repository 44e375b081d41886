"""From what masks hold to classes 0 to K - 1: which value, index or colour is which class."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vil_mm.own_data.masks import COLOUR, GREY, Survey, count

IGNORE_INDEX = 255  # a pixel without a class, in what is written
IGNORE, REST = 'ignore', 'rest'  # words of --values
BLACK, WHITE = 0x000000, 0xFFFFFF
MANY = 8  # codes that belong to no class, above which masks look antialiased or JPEG-compressed
NEAR = 32  # of 255, in each channel: such a code is a compressed or antialiased one of a class
NEAR_SHARE = 0.9  # of all pixels that have to be so near, or it is no mask with soft edges
SHOWN = 6  # values in a message
MOST = 24  # values in an example of --values


@dataclass(frozen=True)
class Coding:
    """How masks become label maps.

    Attributes:
        classes: Names, in the order of their numbers.
        kind: How masks are read, see ``Survey``.
        table: Class of each code; 255 for none.
        rest: Class of all other codes, or None if there are no others.
        snap: Other codes take the class of the nearest one; with more than two codes only those
            that are near, and the others have no class.
        pixels: Of each class, and under 255 of those without one.
    """

    classes: tuple[str, ...]
    kind: str
    table: dict[int, int]
    rest: int | None
    snap: bool
    pixels: Counter[int]

    def apply(self, codes: np.ndarray) -> np.ndarray:
        """Label map ``(H, W)``, uint8, of what ``read_codes`` has read."""
        found = sorted(count(codes))
        labels = np.array([self.label(code) for code in found], np.uint8)
        return labels[np.searchsorted(found, codes)]

    def label(self, code: int) -> int:
        """The class of one code.

        Raises:
            ValueError: It has none.
        """
        if code in self.table:
            return self.table[code]
        if self.rest is not None:
            return self.rest
        if not self.snap:
            raise ValueError(f'the value {name_code(code, self.kind)} belongs to no class')
        nearest = min(self.table, key=lambda other: _distance(code, other, self.kind))
        too_far = len(self.table) > 2 and _distance(code, nearest, self.kind) > NEAR
        return IGNORE_INDEX if too_far else self.table[nearest]

    def lines(self, found: Counter[int]) -> list[str]:
        """The mapping, a line for each class, with the share of pixels of each value."""
        total = sum(found.values())
        labels = [*range(len(self.classes)), IGNORE_INDEX]
        lines = []
        for label in labels:
            codes = [code for code, given in sorted(self.table.items()) if given == label]
            texts = [_with_share(code, found, total, self.kind) for code in codes]
            texts = texts[:SHOWN] + ([f'{len(texts) - SHOWN} more'] if len(texts) > SHOWN else [])
            texts += ['all others'] if self.rest == label else []
            near = self.pixels[label] - sum(found[code] for code in codes)
            if self.snap and near:
                texts.append(f'those near ({_percent(near, total)})')
            name = self.classes[label] if label != IGNORE_INDEX else 'no class'
            if texts:
                lines.append(f'{", ".join(texts)} -> {label} {name}')
        return lines


def choose_coding(
    found: Survey, classes: Sequence[str] | None, values: Sequence[str] | None
) -> Coding:
    """Say which code is which class, by what the user named or by the rules of docs/own_data.md.

    Args:
        found: What the masks hold.
        classes: Names, in the order of their numbers; None takes them from ``values``.
        values: ``name=value`` or ``name=value,value`` for each class, ``ignore=value`` for pixels
            without a class; ``rest`` for a value is all others. Colours are ``#rrggbb``.

    Raises:
        ValueError: Names or values do not fit what was found, which the message lists.
    """
    named = [_parse(entry) for entry in values or ()]
    if classes is None and named:
        classes = [name for name, _ in named if name != IGNORE]
    _check_classes(classes, found)
    kind, codes = found.kind, found.codes
    if any(text.startswith('#') for _, texts in named for text in texts):
        kind, codes = COLOUR, found.colours
    if named:
        table, rest = _named_table(named, classes, kind)
    else:
        table, rest = _guess(found, classes), None
    if table is None:
        raise ValueError(_does_not_fit(found.codes, found.kind, classes))
    strangers = [code for code in codes if code not in table] if rest is None else []
    if strangers and not _are_soft(codes, strangers, table, kind):
        raise ValueError(_strangers(codes, strangers, kind))
    coding = Coding(tuple(classes), kind, table, rest, bool(strangers), Counter())
    for code, pixels in codes.items():
        coding.pixels[coding.label(code)] += pixels
    present = [label for label in range(len(classes)) if coding.pixels[label]]
    if len(present) < 2:
        raise ValueError(
            f'only one class occurs in the masks ({classes[present[0]]}): there is nothing to tell '
            f'apart; the masks hold {list_codes(codes, kind)}'
            if present
            else f'no class occurs in the masks, which hold {list_codes(codes, kind)}'
        )
    return coding


def list_codes(codes: Counter[int], kind: str) -> str:
    """The commonest codes with their share of the pixels, as messages list them."""
    total = sum(codes.values())
    common = sorted(code for code, _ in codes.most_common(SHOWN))
    texts = [_with_share(code, codes, total, kind) for code in common]
    more = f' and {len(codes) - SHOWN} more' if len(codes) > SHOWN else ''
    return ', '.join(texts) + more


def name_code(code: int, kind: str) -> str:
    return f'#{code:06x}' if kind == COLOUR else str(code)


def _with_share(code: int, codes: Counter[int], total: int, kind: str) -> str:
    return f'{name_code(code, kind)} ({_percent(codes[code], total)})'


def _percent(pixels: int, total: int) -> str:
    share = 100 * pixels / total
    return 'never' if not pixels else f'{share:.1f} %' if share >= 0.05 else '< 0.1 %'


def _check_classes(classes: Sequence[str] | None, found: Survey) -> None:
    held = f'the masks hold {len(found.codes)} values: {list_codes(found.codes, found.kind)}'
    if not classes:
        names = [f'NAME{i}' for i in range(min(len(found.codes), SHOWN))]
        raise ValueError(f'--classes is missing; {held}; name them: --classes {" ".join(names)}')
    if len(classes) < 2:
        raise ValueError(f'--classes has one name: the background is a class too; {held}')
    if len(classes) > IGNORE_INDEX:
        raise ValueError(f'--classes has {len(classes)} names; a mask of 8 bits has room for 255')
    twice = sorted(name for name, times in Counter(classes).items() if times > 1)
    if twice:
        raise ValueError(f'--classes names {", ".join(twice)} twice')


def _parse(entry: str) -> tuple[str, list[str]]:
    name, equals, texts = entry.rpartition('=')
    fitting = r'#[0-9a-fA-F]{6}|\d+|' + REST
    split = [text.strip() for text in texts.split(',')]
    if not equals or not name or not all(re.fullmatch(fitting, text) for text in split):
        raise ValueError(
            f'--values {entry} is not understood: write CLASS=VALUE or CLASS=VALUE,VALUE, a colour '
            f"as '#rrggbb', all other values as {REST}; {IGNORE}=VALUE has no class"
        )
    return name, split


def _named_table(
    named: list[tuple[str, list[str]]], classes: Sequence[str], kind: str
) -> tuple[dict[int, int], int | None]:
    table: dict[int, int] = {}
    rest = None
    for name, texts in named:
        label = _find_label(name, classes)
        for text in texts:
            if text == REST:
                if rest not in (None, label):
                    raise ValueError(f'--values gives {REST} to two classes')
                rest = label
                continue
            if (kind == COLOUR) != text.startswith('#'):
                raise ValueError(
                    f"--values {name}={text}: masks are read by colour, write '#rrggbb'"
                )
            code = int(text.lstrip('#'), 16) if kind == COLOUR else int(text)
            if table.setdefault(code, label) != label:
                raise ValueError(f'--values gives {text} to two classes')
    missing = set(range(len(classes))) - {*table.values(), rest}
    if missing:
        names = ', '.join(classes[label] for label in sorted(missing))
        raise ValueError(
            f'--values has no value for {names}: name one, or all other values, CLASS={REST}'
        )
    return table, rest


def _find_label(name: str, classes: Sequence[str]) -> int:
    if name in classes:
        return list(classes).index(name)
    if name == IGNORE:
        return IGNORE_INDEX
    close = difflib.get_close_matches(name, classes, n=1)
    hint = f'did you mean {close[0]}? ' if close else ''
    raise ValueError(
        f'--values names {name}, which is no class: {hint}--classes has {", ".join(classes)}; '
        f'{IGNORE} is for pixels without a class'
    )


def _guess(found: Survey, classes: Sequence[str]) -> dict[int, int] | None:
    """The table by the rules of docs/own_data.md, or None if no rule fits."""
    num, codes = len(classes), sorted(found.codes)
    in_order = {code: label for label, code in enumerate(codes)}
    if found.kind == COLOUR:
        if len(codes) == num == 2 and {BLACK, WHITE} & set(codes):
            return in_order if BLACK in codes else {code: int(code == WHITE) for code in codes}
        return {BLACK: 0, WHITE: 1} if _two_soft(found, num, BLACK, WHITE) else None
    labels = [code for code in codes if code != IGNORE_INDEX]
    if num == 2 and codes == [0, 255]:
        return in_order
    if set(labels) <= set(range(num)):
        # 0, 1 and 255 for three classes, or 0 and 255: is 255 a class, or none?
        unclear = IGNORE_INDEX in codes and (len(codes) == num or len(labels) == 1)
        return None if unclear else {**{i: i for i in range(num)}, **_ignored(codes)}
    if len(codes) == num:
        return in_order
    if len(labels) == num and labels[-1] - labels[0] == num - 1:
        return {**{code: label for label, code in enumerate(labels)}, **_ignored(codes)}
    return {0: 0, 255: 1} if found.kind == GREY and _two_soft(found, num, 0, 255) else None


def _ignored(codes: Sequence[int]) -> dict[int, int]:
    return {IGNORE_INDEX: IGNORE_INDEX} if IGNORE_INDEX in codes else {}


def _two_soft(found: Survey, num_classes: int, low: int, high: int) -> bool:
    """Whether masks of two classes look like black and white with soft or compressed edges."""
    table = {low: 0, high: 1}
    strangers = [code for code in found.codes if code not in table]
    ends = [
        sum(n for code, n in found.codes.items() if _distance(code, end, found.kind) <= NEAR)
        for end in table
    ]
    return num_classes == 2 and all(ends) and _are_soft(found.codes, strangers, table, found.kind)


def _are_soft(
    codes: Counter[int], strangers: Sequence[int], table: dict[int, int], kind: str
) -> bool:
    """Whether codes that belong to no class are many, and nearly all near one that does."""
    far = sum(
        codes[code]
        for code in strangers
        if min(_distance(code, other, kind) for other in table) > NEAR
    )
    return len(strangers) > MANY and far <= (1 - NEAR_SHARE) * sum(codes.values())


def _distance(code: int, other: int, kind: str) -> int:
    if kind != COLOUR:
        return abs(code - other)
    return max(abs((code >> shift & 0xFF) - (other >> shift & 0xFF)) for shift in (16, 8, 0))


def _does_not_fit(codes: Counter[int], kind: str, classes: Sequence[str]) -> str:
    names = [*classes, *[IGNORE] * len(codes)]
    held = sorted(_main_codes(codes, kind, len(classes)))
    strangers = [code for code in codes if code not in held]
    if (
        kind == COLOUR
        and len(codes) > 256
        and not _are_soft(codes, strangers, dict.fromkeys(held, 0), kind)
    ):
        return (
            f'the masks look like photos ({len(codes)} colours): are --images and --masks swapped?'
        )
    example = ' '.join(
        f"{name}='{name_code(code, kind)}'" if kind == COLOUR else f'{name}={code}'
        for name, code in zip(names, held, strict=False)
    )
    return (
        f'the masks hold {len(codes)} {"colours" if kind == COLOUR else "values"} and --classes '
        f'has {len(classes)} names, which is not enough to tell which is which: '
        f'{list_codes(codes, kind)}. Say so, in this manner: --values {example}'
    )


def _main_codes(codes: Counter[int], kind: str, num: int) -> list[int]:
    """All codes; of many only as many as classes, and none that JPEG may have made of another."""
    if len(codes) <= MOST:
        return list(codes)
    main: list[int] = []
    for code, _ in codes.most_common():
        if all(_distance(code, other, kind) > NEAR for other in main):
            main.append(code)
        if len(main) == num:
            break
    return main


def _strangers(codes: Counter[int], strangers: Sequence[int], kind: str) -> str:
    unnamed = Counter({code: codes[code] for code in strangers})
    total = sum(codes.values())
    common = sorted(code for code, _ in unnamed.most_common(SHOWN))
    texts = [_with_share(code, codes, total, kind) for code in common]
    more = f' and {len(strangers) - SHOWN} more' if len(strangers) > SHOWN else ''
    return (
        f'the masks hold values that --values does not name: {", ".join(texts)}{more}; give them '
        f'to a class (CLASS=VALUE,VALUE), to {IGNORE}, or to all others: CLASS={REST}'
    )
