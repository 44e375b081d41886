"""What the kernels share: offsets of tokens in reading order, and matrix products."""

from __future__ import annotations

import triton
import triton.language as tl

from vil_mm.mlstm.triton import runtime

INTERPRETED = tl.constexpr(runtime.INTERPRETED)


@triton.jit
def token_offset(t, length, columns, stride_row, stride_column, REVERSE: tl.constexpr):
    """Offset of the ``t``-th token in reading order, in a grid of ``columns`` columns."""
    position = length - 1 - t if REVERSE else t
    return (position // columns) * stride_row + (position % columns) * stride_column


@triton.jit
def dot(x, y, total, PRECISION: tl.constexpr):
    """``total + x @ y``, both in the dtype of ``y``; products of float32 as ``PRECISION`` says."""
    if INTERPRETED:  # whose products of bfloat16 are wrong
        return tl.dot(x.to(tl.float32), y.to(tl.float32), total, input_precision='ieee')
    return tl.dot(x.to(y.dtype), y, total, input_precision=PRECISION)
