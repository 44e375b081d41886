"""Guess which value or colour of the masks stands for which class, by docs/own_data.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vil_mm.datasets.label_maps import IGNORE_INDEX
from vil_mm.errors import ArgumentError
from vil_mm.own_data.masks import COLOUR, GREY, Survey

IGNORE = 'ignore'  # stands for IGNORE_INDEX among names of classes
BLACK, WHITE = 0x000000, 0xFFFFFF
MANY = 8  # with more unassigned codes than this, masks look antialiased or JPEG-compressed
NEAR = 32  # of 255, in each channel: a code this close to an assigned one is the same, compressed
NEAR_SHARE = 0.9  # of all pixels must be that close, or the image is no mask with soft edges
MOST = 24  # codes in an example of ``values``


def guess_table(found: Survey, classes: Sequence[str]) -> dict[int, int]:
    """The label of each code by the rules of docs/own_data.md.

    Raises:
        ValueError: No rule fits.
    """
    guess = _guess_by_colour if found.kind == COLOUR else _guess_by_value
    table = guess(found, len(classes))
    if table is not None:
        return table
    low, high = (BLACK, WHITE) if found.kind == COLOUR else (0, 255)
    soft = {low: 0, high: 1}
    near_both = all(any(found.distance(code, end) <= NEAR for code in found.codes) for end in soft)
    can_be_soft = len(classes) == 2 and found.kind in (COLOUR, GREY)
    if can_be_soft and near_both and has_soft_edges(found, soft):
        return soft
    raise _ask_for_values(found, classes)


def _guess_by_colour(found: Survey, num: int) -> dict[int, int] | None:
    """Two colours, one of them black (the first class) or white (the second)."""
    codes = sorted(found.codes)
    if not len(codes) == num == 2 or not {BLACK, WHITE} & set(codes):
        return None
    return {code: int(code != BLACK if BLACK in codes else code == WHITE) for code in codes}


def _guess_by_value(found: Survey, num: int) -> dict[int, int] | None:
    """Labels as they are; or as many values as classes, in ascending order."""
    codes = sorted(found.codes)
    labels = [code for code in codes if code != IGNORE_INDEX]
    ignored = {IGNORE_INDEX: IGNORE_INDEX} if IGNORE_INDEX in codes else {}
    in_order = {code: label for label, code in enumerate(codes)}
    if num == 2 and codes == [0, 255]:
        return in_order
    if set(labels) <= set(range(num)):
        # 0, 1 and 255 for three classes, or 0 and 255: is 255 a class, or none?
        unclear = ignored and (len(codes) == num or len(labels) == 1)
        return None if unclear else {**{label: label for label in range(num)}, **ignored}
    if len(codes) == num:
        return in_order
    if len(labels) == num and labels[-1] - labels[0] == num - 1:
        return {**{code: label for label, code in enumerate(labels)}, **ignored}
    return None


def has_soft_edges(found: Survey, table: Mapping[int, object]) -> bool:
    """Whether many codes are not in the table, and nearly all pixels are close to one that is."""
    others = [code for code in found.codes if code not in table]
    far = sum(
        found.codes[code]
        for code in others
        if min(found.distance(code, other) for other in table) > NEAR
    )
    return len(others) > MANY and far <= (1 - NEAR_SHARE) * found.codes.total()


def _ask_for_values(found: Survey, classes: Sequence[str]) -> ValueError:
    """The error for masks whose coding cannot be guessed, with an example that works."""
    colour, number = found.kind == COLOUR, len(found.codes)
    main = sorted(_find_main_codes(found, len(classes)))
    if colour and number > 256 and not has_soft_edges(found, dict.fromkeys(main)):
        return ValueError(
            f'the masks look like photos ({number} colours): are the folders of images and masks '
            'swapped?'
        )
    quote = "'" if colour else ''
    example = ' '.join(
        f'{name}={quote}{found.name_code(code)}{quote}'
        for name, code in zip([*classes, *[IGNORE] * number], main, strict=False)
    )
    return ArgumentError(
        f'say which value is which class: the masks hold {number} '
        f'{"colours" if colour else "values"} for {len(classes)} classes: '
        f'{found.list_codes()}. For example: {example}',
        values=None,
    )


def _find_main_codes(found: Survey, num: int) -> list[int]:
    """All codes; if there are many, one per class, leaving out what JPEG made of another."""
    if len(found.codes) <= MOST:
        return list(found.codes)
    main: list[int] = []
    for code, _ in found.codes.most_common():
        if all(found.distance(code, other) > NEAR for other in main):
            main.append(code)
        if len(main) == num:
            break
    return main
