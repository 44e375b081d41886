"""All launches of this package at the published models' sizes, for compiling ahead of time."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vil_mm.layers.fused import gate, mix
from vil_mm.mlstm.triton.runtime import Launch, recorded

CHANNELS = (384, 768, 1536, 2048)  # E of ViL-T, S, B, L
TAPS = (9, 4)  # of the convolutions of version 2 and 1
GRID = (2, 32, 32)


def kernel_cases() -> Iterator[Launch]:
    """Forward and backward launches of each kernel; nothing is run, tensors have no memory.

    The code of the local mixing is the same for every E, so that it comes once for each dtype.
    """
    with recorded() as launches:
        for dtype in (torch.bfloat16, torch.float32):
            for taps in TAPS:
                _launch_mixing(CHANNELS[0], taps, dtype)
            for channels in CHANNELS:
                _launch_gate(channels, dtype)
    yield from launches


def _launch_mixing(channels: int, taps: int, dtype: torch.dtype) -> None:
    x, y, weight = _tensors(channels, dtype)
    table = torch.empty(taps + mix.AFTER_CONV, channels, device='meta')
    gates = torch.empty(*GRID, mix.GATES, device='meta')
    for reverse in (False, True):
        mix.forward(x, table, weight[: mix.GATES], reverse)
        mix.backward(x, table, y, y, y, y, y, gates, reverse)


def _launch_gate(channels: int, dtype: torch.dtype) -> None:
    z, y, weight = _tensors(channels, dtype)
    h = y.unflatten(-1, (4, -1))
    gate.forward(h, y, z, weight, weight, weight, 1e-5)
    gate.backward(h, y, z, y, weight, weight, weight, 1e-5)


def _tensors(channels: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Half of a packed projection, a map of its own, and one weight a channel."""
    packed = torch.empty(*GRID, 2 * channels, dtype=dtype, device='meta')
    one = torch.empty(*GRID, channels, dtype=dtype, device='meta')
    return packed[..., :channels], one, torch.empty(channels, device='meta')
