"""Where results lie, how gradients that come in are brought there, and how work is shared out."""

from __future__ import annotations

import torch
from torch import Tensor

# Enough programs to fill 132 multiprocessors several times over; not asked of the device, so that
# sums are taken in the same order on all of them.
PROGRAMS = 1024
LARGEST_OFFSET = 2**31


def empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """New memory on the device of ``like``: all that kernels write is allocated here."""
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device)


def empty_map(like: Tensor) -> Tensor:
    """``(B, Hg, Wg, E)`` or ``(B, Hg, Wg, NH, DH)``, its grid in memory as that of ``like`` is.

    That of a transposed grid is transposed too: what reads the result by rows finds it contiguous.
    """
    images, rows, columns, *channels = like.shape
    if like.stride(1) < like.stride(2):
        return empty((images, columns, rows, *channels), like).transpose(1, 2)
    return empty((images, rows, columns, *channels), like)


def readable(x: Tensor) -> Tensor:
    """``x`` with neighbouring channels side by side: a copy only where they are not.

    Raises:
        ValueError: One image is too large for 32-bit offsets.
    """
    x = x if x.stride(-1) == 1 else x.contiguous()
    extent = sum((n - 1) * s for n, s in zip(x.shape[1:], x.stride()[1:], strict=True))
    if extent >= LARGEST_OFFSET:
        raise ValueError(f'an image of {tuple(x.shape[1:])} is too large for the fused kernels')
    return x


def readable_as(gradient: Tensor, like: Tensor) -> Tensor:
    """A gradient ``(B, Hg, Wg, E)`` with the strides of ``like``: a copy where it has others.

    The stride of an axis of length one is never used, and views may give it any.
    """
    strides = zip(gradient.shape, gradient.stride(), like.stride(), strict=True)
    if all(mine == wanted for size, mine, wanted in strides if size > 1):
        return gradient
    return torch.empty_strided(
        like.shape, like.stride(), dtype=like.dtype, device=like.device
    ).copy_(gradient)


def share(steps: int, others: int) -> int:
    """Steps for each program, where ``others`` programs do every step for other channels.

    Each program writes sums of its own, half as large as a step's data: it takes eight at least.
    """
    return max(8, -(-steps * others // PROGRAMS))
