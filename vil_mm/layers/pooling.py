"""Pooling of all tokens to one vector per image."""

from __future__ import annotations

import torch
from torch import Tensor

# name -> width of the result in units of D
POOLINGS = {
    'bilateral_concat': 2,
    'bilateral_avg': 1,
    'avg': 1,
    'middle_patch': 1,
    'middle_cls': 1,
    'first': 1,
    'last': 1,
}


def pool(x: Tensor, kind: str) -> Tensor:
    """Pool tokens ``(B, S, D)`` to ``(B, D)`` or, for 'bilateral_concat', ``(B, 2D)``.

    'bilateral' poolings use the first and the last token: the ends of the two directions. The
    middle is token ``S // 2``; on a grid with an even number of rows that is the first token of a
    row, not the centre. 'middle_cls' expects the learnt token there, see :func:`insert_middle`.

    Raises:
        ValueError: The pooling is not known.
    """
    first, middle, last = x[:, 0], x[:, x.shape[1] // 2], x[:, -1]
    match kind:
        case 'bilateral_concat':
            return torch.cat([first, last], dim=-1)
        case 'bilateral_avg':
            return (first + last) / 2
        case 'avg':
            return x.mean(dim=1)
        case 'middle_patch' | 'middle_cls':
            return middle
        case 'first':
            return first
        case 'last':
            return last
    raise ValueError(f'pooling {kind!r} is not known; choose one of {tuple(POOLINGS)}')


def insert_middle(x: Tensor, token: Tensor) -> Tensor:
    """Put one token ``(1, 1, D)`` after the first ceil(S / 2) of ``(B, S, D)``."""
    half = (x.shape[1] + 1) // 2
    token = token.to(x.dtype).expand(x.shape[0], -1, -1)
    return torch.cat([x[:, :half], token, x[:, half:]], dim=1)
