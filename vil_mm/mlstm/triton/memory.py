"""Memory that kernels read and write: layouts, allocation, and what 32-bit offsets can reach."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_OFFSET = 2**31


def empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """New memory on the device of ``like``; all that kernels write is allocated here."""
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device)


def empty_grid(like: Tensor) -> Tensor:
    """A dense tensor of the shape ``(B, Hg, Wg, ...)`` and of the order in memory of ``like``.

    A scan by columns reads a transposed view of the grid. Its result is transposed as well, so that
    the next operator, which sees it transposed back, reads contiguous rows.
    """
    images, rows, columns, *rest = like.shape
    if like.stride(1) < like.stride(2):
        return empty((images, columns, rows, *rest), like).transpose(1, 2)
    return empty((images, rows, columns, *rest), like)


def offsets_fit(x: Tensor) -> bool:
    """Whether 32-bit offsets reach every entry of an image of ``x`` ``(B, ...)``."""
    extent = sum((n - 1) * s for n, s in zip(x.shape[1:], x.stride()[1:], strict=True))
    return extent < LARGEST_OFFSET


def readable(x: Tensor) -> Tensor:
    """``x`` if its channels are contiguous, else a copy.

    Raises:
        ValueError: An image is too large for 32-bit offsets.
    """
    x = x if x.stride(-1) == 1 else x.contiguous()
    if not offsets_fit(x):
        raise ValueError(f'an image of {tuple(x.shape[1:])} is too large for the fused kernels')
    return x


def readable_as(gradient: Tensor, like: Tensor) -> Tensor:
    """A gradient ``(B, Hg, Wg, E)`` with the strides of ``like``: a copy if it has others.

    The stride of an axis of length one is never used, and views may give it any.
    """
    strides = zip(gradient.shape, gradient.stride(), like.stride(), strict=True)
    if all(mine == wanted for size, mine, wanted in strides if size > 1):
        return gradient
    return torch.empty_strided(
        like.shape, like.stride(), dtype=like.dtype, device=like.device
    ).copy_(gradient)
