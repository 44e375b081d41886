"""What the kernels share: offsets of neighbouring tokens, and blocks of four channels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def neighbour(
    t, row, column, tap: tl.constexpr, sign, length, rows, columns, stride_row, stride_column,
    CAUSAL: tl.constexpr,
):  # fmt: skip
    """Offset of the token under a tap of the kernel at token ``t``, and whether there is one.

    Taps are numbered as in the weight: the 3 x 3 around the token, or with ``CAUSAL`` the token
    (tap 3) and the three before it. ``sign`` -1 turns the kernel by 180 degrees.
    """
    if CAUSAL:
        u = t + (tap - 3) * sign
        there = (u >= 0) & (u < length) & (t < length)
        return (u // columns) * stride_row + (u % columns) * stride_column, there
    down: tl.constexpr = tap // 3 - 1
    right: tl.constexpr = tap % 3 - 1
    there = t < length
    if down != 0:
        there &= (row + down * sign >= 0) & (row + down * sign < rows)
    if right != 0:
        there &= (column + right * sign >= 0) & (column + right * sign < columns)
    at = row * stride_row + column * stride_column
    return at + sign * (down * stride_row + right * stride_column), there


@triton.jit
def split4(y):
    """``(N, 4G)`` to the four ``(N, G)`` that hold channel 0, 1, 2, 3 of every block."""
    even, odd = tl.split(tl.reshape(y, [y.shape[0], y.shape[1] // 4, 2, 2]))
    y0, y2 = tl.split(even)
    y1, y3 = tl.split(odd)
    return y0, y1, y2, y3


@triton.jit
def join4(y0, y1, y2, y3):
    """The inverse of :func:`split4`."""
    y = tl.join(tl.join(y0, y2), tl.join(y1, y3))
    return tl.reshape(y, [y0.shape[0], y0.shape[1] * 4])


@triton.jit
def spread(y):
    """Channel i of every block, at all four channels of the block; for i = 0, 1, 2, 3."""
    y0, y1, y2, y3 = split4(y)
    return (
        join4(y0, y0, y0, y0),
        join4(y1, y1, y1, y1),
        join4(y2, y2, y2, y2),
        join4(y3, y3, y3, y3),
    )


@triton.jit
def project(y, table, first: tl.constexpr, channels, channel):
    """Block-diagonal map: row ``first + i`` of the table holds the weights of channel i of blocks.

    y, result: ``(N, C)`` float32. ``channel``: ``(1, C)``.
    """
    y0, y1, y2, y3 = spread(y)
    z = y0 * tl.load(table + first * channels + channel)
    z += y1 * tl.load(table + (first + 1) * channels + channel)
    z += y2 * tl.load(table + (first + 2) * channels + channel)
    z += y3 * tl.load(table + (first + 3) * channels + channel)
    return z


@triton.jit
def project_back(z, table, first: tl.constexpr, channels, channel):
    """The transpose of :func:`project`: gradient of y from that of the result."""
    z0, z1, z2, z3 = split4(z)
    y = ()
    for i in tl.static_range(4):
        w0, w1, w2, w3 = split4(tl.load(table + (first + i) * channels + channel))
        y = y + (z0 * w0 + z1 * w1 + z2 * w2 + z3 * w3,)
    return join4(y[0], y[1], y[2], y[3])


@triton.jit
def split_hi_lo(x, low, dtype: tl.constexpr):
    """float32 x as the sum of two numbers of ``dtype``: the high part, or the low where ``low``.

    Two bfloat16 of 8 bits each are precise enough for a gate. The low part of a float32 is zero.
    """
    high = x.to(dtype).to(tl.float32)
    return tl.where(low, x - high, high)
