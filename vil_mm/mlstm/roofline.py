"""The least time that fused kernels of the mLSTM cell can take on a device: its roofline bound."""

from __future__ import annotations

import math
from typing import NamedTuple


class Device(NamedTuple):
    """Peak rates of a device: FLOPs of matrix products and bytes of memory, per second."""

    flops: float
    bandwidth: float


# An NVIDIA H200, measured: a large bfloat16 product and a copy in its memory.
H200 = Device(flops=790e12, bandwidth=4.3e12)

DEFAULT_CHUNK = 256  # tokens


class Pass(NamedTuple):
    """What a kernel computes and moves: FLOPs and bytes per token."""

    flops: float
    bytes: float


def roofline_bound(passes: list[Pass], tokens: int, device: Device) -> float:
    """Least seconds for ``passes`` in turn, each bound by its products or by its memory."""
    return tokens * sum(max(p.flops / device.flops, p.bytes / device.bandwidth) for p in passes)


def cell_passes(
    length: int,
    num_heads: int,
    head_dim: int,
    chunk_size: int | None = DEFAULT_CHUNK,
    *,
    backward: bool = False,
    element: int = 2,
    state: int = 4,
) -> list[Pass]:
    """The cell in fused kernels: tiles of 64 on and below the diagonal, each tensor moved once.

    Args:
        length, num_heads, head_dim: S, NH and DH.
        chunk_size: L; ``None`` for one chunk that covers the sequence, without states.
        backward: The backward pass alone, which recomputes the states, instead of the forward.
        element, state: Bytes per entry of q, k, v, h and of a state.
    """
    inner = num_heads * head_dim
    span = length if chunk_size is None else chunk_size
    tiles = (1 + min(1, 64 / span)) / 2  # computed part of a square of weights
    inside, between = span * tiles, 0 if chunk_size is None else head_dim
    flops = inner * (10 * inside + 10 * between if backward else 4 * inside + 4 * between)
    if chunk_size is None:  # q, k, v, h; and back again also dh, dq, dk, dv without h
        moved = inner * element * (7 if backward else 4)
    elif backward:
        moved = inner * (12 * element + 4 * head_dim * state / chunk_size)
    else:
        moved = inner * (6 * element + 2 * head_dim * state / chunk_size)
    return [Pass(flops, moved)]


def choose_triton_chunk(length: int, num_heads: int, head_dim: int, element: int = 2) -> int:
    """Tokens per chunk of the forward kernels: the lowest roofline bound on an H200.

    One chunk without states for sequences of up to 1024 tokens, or 128 or 256 with states of
    ``element`` bytes per entry. The backward kernels have a fixed length, their tile.
    """
    best, least = 0, math.inf
    one = max(64, 1 << (length - 1).bit_length())
    for chunk in (one, 256, 128):
        if chunk > 1024:
            continue
        span = None if chunk >= length else chunk
        passes = cell_passes(length, num_heads, head_dim, span, element=element, state=element)
        seconds = roofline_bound(passes, length, H200)
        if seconds < least:
            best, least = chunk, seconds
    return best
