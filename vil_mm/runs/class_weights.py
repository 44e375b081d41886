"""Class weights of a loss, as a config gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

from mmseg.models.losses.utils import get_class_weight


def check_class_weight(at: str, weights: object, head: str, outputs: int) -> None:
    """Fail if a loss cannot weigh its classes so, or all of it would be nothing.

    Args:
        at: The loss's place in the config.
        weights: Its ``class_weight``: a list, a file with one, or None.
        head: The head's place in the config.
        outputs: Of the head.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: Names the place, what is wrong with it and what is expected.
    """
    if weights is None:
        return
    if isinstance(weights, str):
        if not Path(weights).is_file():
            raise FileNotFoundError(f'{at}.class_weight: no such file: {weights}')
        weights = get_class_weight(weights)
    hint = ': that of the second class against the first' if outputs == 1 else ''
    if isinstance(weights, str | dict) or not hasattr(weights, '__len__'):
        raise ValueError(
            f'{at}.class_weight={weights!r}: expected a list of {outputs} numbers, one for each '
            f'output{hint}'
        )
    if len(weights) != outputs:
        raise ValueError(
            f'{at}.class_weight has {len(weights)} numbers, but {head} has {outputs} outputs: give '
            f'one number for each{hint}'
        )
    _check_numbers(at, weights)


def _check_numbers(at: str, weights: Sequence[object]) -> None:
    for weight in weights:
        if not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise ValueError(f'{at}.class_weight has {weight!r}: expected numbers from 0 up')
    if not any(weights):
        raise ValueError(f'{at}.class_weight is 0 for every class, so nothing would be learned')
