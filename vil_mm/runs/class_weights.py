"""Check the class weights of a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

from mmseg.models.losses.utils import get_class_weight


def check_class_weight(at: str, weights: object, head: str, outputs: int) -> None:
    """Fail if the class weights of a loss do not match its head, or are all zero.

    Args:
        at: Key of the loss in the config.
        weights: Its ``class_weight``: a list, a file with one, or None.
        head: Key of the head in the config.
        outputs: Number of outputs of the head.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: Names the key, what is wrong and what is expected.
    """
    if weights is None:
        return
    if isinstance(weights, str):
        if not Path(weights).is_file():
            raise FileNotFoundError(f'{at}.class_weight: no such file: {weights}')
        weights = get_class_weight(weights)
    hint = ': the weight of the second class' if outputs == 1 else ''
    if isinstance(weights, str | dict) or not hasattr(weights, '__len__'):
        raise ValueError(
            f'{at}.class_weight={weights!r}: expected a list of {outputs} numbers, one per '
            f'output{hint}'
        )
    if len(weights) != outputs:
        raise ValueError(
            f'{at}.class_weight has {len(weights)} numbers, but {head} has {outputs} outputs: give '
            f'one number per output{hint}'
        )
    _check_numbers(at, weights)


def _check_numbers(at: str, weights: Sequence[object]) -> None:
    for weight in weights:
        if not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise ValueError(f'{at}.class_weight has {weight!r}: expected numbers of at least 0')
    if not any(weights):
        raise ValueError(f'{at}.class_weight is 0 for every class, so nothing would be learned')
