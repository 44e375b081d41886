"""Split pairs into training and validation."""

from __future__ import annotations

import random
from collections.abc import Sequence

from vil_mm.own_data.pairing import Pair

VAL_SHARE = 0.2
TRIES = 50  # random splits, of which the one with the most classes in both parts wins

Split = dict[str, list[int]]


def split_pairs(pairs: Sequence[Pair], present: Sequence[set[int]], seed: int) -> tuple[Split, str]:
    """Split by the user's folders ``train`` and ``val``, or at random.

    A random split keeps a fifth for validation, at least two of six or more pairs. Among 50 random
    splits, the first with the most classes in training, then in validation, is used.

    Args:
        pairs: All pairs.
        present: Classes that occur in each mask.
        seed: Random seed.

    Returns:
        Indices of 'train' and 'val', and a description of how they were chosen.

    Raises:
        ValueError: There is only one pair, or only some pairs are in such folders.
    """
    if len(pairs) < 2:
        raise ValueError(
            'one photo with a mask is not enough: one is for training, another for validation'
        )
    names = {pair.split for pair in pairs}
    if 'train' in names and names & {'val', 'test'}:
        return _by_folders(pairs)
    num_val = max(1, round(VAL_SHARE * len(pairs)))
    num_val = max(2, num_val) if len(pairs) >= 6 else num_val
    draws = [_draw(len(pairs), num_val, seed + 1000 * i) for i in range(TRIES)]
    best = max(draws, key=lambda split: _coverage(split, present))
    return best, f'drawn with seed {seed}'


def _by_folders(pairs: Sequence[Pair]) -> tuple[Split, str]:
    outside = [pair.name for pair in pairs if pair.split is None]
    if outside:
        raise ValueError(
            f'{outside[0]} is in no folder train or val, unlike others ({len(outside)} such '
            'photos): move all photos into such folders, or none'
        )
    val = 'val' if any(pair.split == 'val' for pair in pairs) else 'test'
    split = {
        part: [i for i, pair in enumerate(pairs) if pair.split == name]
        for part, name in (('train', 'train'), ('val', val))
    }
    left = len(pairs) - sum(map(len, split.values()))
    return split, f'by your folders train and {val}' + (f'; {left} in test not used' * bool(left))


def _draw(num: int, num_val: int, seed: int) -> Split:
    order = random.Random(seed).sample(range(num), num)
    return {'train': sorted(order[num_val:]), 'val': sorted(order[:num_val])}


def _coverage(split: Split, present: Sequence[set[int]]) -> tuple[int, int]:
    parts = [set().union(*(present[i] for i in split[part])) for part in ('train', 'val')]
    return len(parts[0]), len(parts[1])
