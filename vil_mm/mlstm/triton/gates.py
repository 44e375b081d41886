"""Kernels over the gates alone: stabilisers and decays before, gradients after the matrix products.

All of them are in units of log 2, because a GPU computes exp2. For chunks of L tokens, as in
:mod:`vil_mm.mlstm.chunkwise`:

    a_t = sum of log2 sigmoid(f) from the chunk's first token to t
    m_t = a_t + max(m_in, max_{s<=t} (i_s log2(e) - a_s))
    read_t = a_t - m_t        written_s = i_s log2(e) - a_s

so that the weight of token s for token t is exp2(read_t + written_s), of the incoming state
exp2(read_t + m_in), and of token s in the outgoing state exp2(written_s + read at the last token).
An error in m changes nothing, for h is homogeneous in exp(-m): whatever was stored is used.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vil_mm.mlstm.triton.common import place

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def largest(x, y):
    return tl.maximum(x, y)


@triton.jit
def log2_sigmoid(x):
    """log2(sigmoid(x)), with a relative error of float32 for large x too (Kahan's log1p)."""
    y = tl.exp(-tl.abs(x))
    above = (1 + y) - 1
    log1p = tl.where(above > 0, tl.log(1 + y) * (y / tl.where(above > 0, above, 1.0)), y)
    return (tl.minimum(x, 0.0) - log1p) * LOG2_E


@triton.jit
def prepare_gates(
    igate, fgate, m, read, written,
    length, heads, columns,
    i_batch, i_row, i_column, i_head,
    f_batch, f_row, f_column, f_head,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, GIVEN_M: tl.constexpr,
):  # fmt: skip
    """One program an image and head. m, read, written: (B, NH, S) float32 in reading order.

    Runs over ``CHUNKS`` chunks at a time. With ``GIVEN_M`` the stabiliser is read, for chunks of
    another length than those it was made with.
    """
    image, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    igate += image.to(tl.int64) * i_batch + head * i_head
    fgate += image.to(tl.int64) * f_batch + head * f_head
    row = tl.program_id(0).to(tl.int64) * length
    chunk = tl.arange(0, CHUNKS)
    token = chunk[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    m_in = float('-inf')
    for start in range(0, length, CHUNK * CHUNKS):
        t = start + token
        inside = t < length
        f_at = place(t, length, columns, f_row, f_column, REVERSE)
        i_at = place(t, length, columns, i_row, i_column, REVERSE)
        log_f = log2_sigmoid(tl.load(fgate + f_at, mask=inside, other=float('inf')).to(tl.float32))
        i = tl.load(igate + i_at, mask=inside, other=float('-inf')).to(tl.float32) * LOG2_E
        a = tl.cumsum(log_f, 1)
        x = i - a
        if GIVEN_M:
            m_t = tl.load(m + row + t, mask=inside, other=0.0)
        else:
            # the largest exponent that each chunk receives: from before, and from chunks before it
            total = tl.sum(log_f, 1)
            end = tl.cumsum(total, 0)
            left = tl.max(x, 1) + total - end
            before = tl.where(chunk[None, :] < chunk[:, None], left[None, :], float('-inf'))
            received = end - total + tl.maximum(tl.max(before, 1), m_in)
            m_t = a + tl.maximum(tl.associative_scan(x, 1, largest), received[:, None])
            tl.store(m + row + t, m_t, mask=inside)
            m_in = tl.maximum(tl.max(left, 0), m_in) + tl.sum(total, 0)
        tl.store(read + row + t, a - m_t, mask=inside)
        tl.store(written + row + t, x, mask=inside)


@triton.jit
def gate_gradients(
    row_sum, column_sum, fgate, digate, dfgate,
    length, heads, columns,
    f_batch, f_row, f_column, f_head,
    di_batch, di_row, di_column, di_head,
    df_batch, df_row, df_column, df_head,
    REVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """di = column sum; df = sigmoid(-f) times the sum of (row - column) from each token onwards.

    Row and column sums of the derivative by the log-weights, (B, NH, S) in reading order. One
    program an image and head; it goes from the sequence's end to its start.
    """
    image, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    fgate += image.to(tl.int64) * f_batch + head * f_head
    digate += image.to(tl.int64) * di_batch + head * di_head
    dfgate += image.to(tl.int64) * df_batch + head * df_head
    row = tl.program_id(0).to(tl.int64) * length
    later = 0.0
    for block in range(tl.cdiv(length, BLOCK)):
        t = length - 1 - block * BLOCK - tl.arange(0, BLOCK)
        inside = t >= 0
        rows = tl.load(row_sum + row + t, mask=inside, other=0.0)
        written = tl.load(column_sum + row + t, mask=inside, other=0.0)
        f_at = place(t, length, columns, f_row, f_column, REVERSE)
        f = tl.load(fgate + f_at, mask=inside, other=0.0).to(tl.float32)
        dlog_f = later + tl.cumsum(rows - written, 0)
        later += tl.sum(rows - written, 0)
        di_at = place(t, length, columns, di_row, di_column, REVERSE)
        tl.store(digate + di_at, written, mask=inside)
        df_at = place(t, length, columns, df_row, df_column, REVERSE)
        tl.store(dfgate + df_at, dlog_f / (1 + tl.exp(f)), mask=inside)
