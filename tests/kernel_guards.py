"""Memory with bands of NaN around it, which kernels must neither read nor write."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BAND = 1 << 14  # more than any tile reaches beyond a tensor


class Guards:
    """Allocates tensors between bands; :meth:`check` tells whether all was written, and only it."""

    def __init__(self) -> None:
        self.buffers: list[tuple[Tensor, bool]] = []

    def empty(self, shape, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """In the place of ``vil_mm.mlstm.triton.memory.empty``: to be written in full."""
        return self.take(shape, dtype or like.dtype, like.device, True)

    def take(self, shape, dtype: torch.dtype, device, written: bool) -> Tensor:
        count = torch.Size(shape).numel()
        buffer = torch.full((count + 2 * BAND,), torch.nan, dtype=dtype, device=device)
        self.buffers.append((buffer, written))
        return buffer[BAND : BAND + count].view(shape)

    def surround(self, x: Tensor | None) -> Tensor | None:
        """A copy of ``x`` between bands: what is read from them spoils every result."""
        return None if x is None else self.take(x.shape, x.dtype, x.device, False).copy_(x)

    def check(self) -> None:
        for buffer, written in self.buffers:
            assert buffer[:BAND].isnan().all() and buffer[-BAND:].isnan().all()
            if written:
                assert not buffer[BAND:-BAND].isnan().any()


class Weights(NamedTuple):
    """In the place of a module of which only the weights are read."""

    weight: Tensor
    bias: Tensor | None
    eps: float = 1e-5


def error(x: Tensor, expected: Tensor) -> float:
    """Relative, of the whole tensor."""
    return ((x.double() - expected.double()).norm() / expected.double().norm()).item()
