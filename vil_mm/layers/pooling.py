"""From all tokens to one vector an image."""

from __future__ import annotations

import torch
from torch import Tensor

# name -> width of the result in units of D
POOLINGS = {'bilateral_concat': 2, 'bilateral_avg': 1, 'avg': 1}


def pool(x: Tensor, kind: str) -> Tensor:
    """Pool tokens ``(B, S, D)`` to ``(B, D)`` or, for 'bilateral_concat', ``(B, 2D)``.

    'bilateral' poolings use the first and the last token: the ends of the two directions.

    Raises:
        ValueError: The pooling is not known.
    """
    first, last = x[:, 0], x[:, -1]
    if kind == 'bilateral_concat':
        return torch.cat([first, last], dim=-1)
    if kind == 'bilateral_avg':
        return (first + last) / 2
    if kind == 'avg':
        return x.mean(dim=1)
    raise ValueError(f'pooling {kind!r} is not known; choose one of {tuple(POOLINGS)}')
