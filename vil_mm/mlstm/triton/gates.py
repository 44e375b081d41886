"""Kernels over the gates alone: stabilisers and decays before, gradients after the matrix products.

All of them are in units of log 2, because a GPU computes exp2. For chunks of L tokens, as in
:mod:`vil_mm.mlstm.chunkwise`:

    a_t = sum of log2 sigmoid(f) from the chunk's first token to t
    m_t = a_t + max(m_in, max_{s<=t} (i_s log2(e) - a_s))
    read_t = a_t - m_t        written_s = i_s log2(e) - a_s

so that the weight of token s for token t is exp2(read_t + written_s), of the incoming state
exp2(read_t + m_in), and of token s in the outgoing state exp2(written_s + read at the last token).
An error in m changes nothing, for h is homogeneous in exp(-m): whatever was stored is used.

m_t belongs to a record: the last token up to t that set the maximum. The derivative by m_t, which
is there because of eps, goes to that token's input gate and to the decays since.
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
def sum_since_reset(sum_1, reset_1, sum_2, reset_2):
    return tl.where(reset_2 > 0, sum_2, sum_1 + sum_2), tl.maximum(reset_1, reset_2)


@triton.jit
def log2_sigmoid(x):
    """log2(sigmoid(x)), with a relative error of float32 for large x too (Kahan's log1p)."""
    y = tl.exp(-tl.abs(x))
    above = (1 + y) - 1
    log1p = tl.where(above > 0, tl.log(1 + y) * (y / tl.where(above > 0, above, 1.0)), y)
    return (tl.minimum(x, 0.0) - log1p) * LOG2_E


@triton.jit
def prepare_gates(
    igate, fgate, m, read, written, record,
    length, heads, columns,
    i_batch, i_row, i_column, i_head,
    f_batch, f_row, f_column, f_head,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, GIVEN_M: tl.constexpr,
):  # fmt: skip
    """One program an image and head. m, read, written: (B, NH, S) float32 in reading order.

    Runs over ``CHUNKS`` chunks at a time. With ``GIVEN_M`` the stabiliser is read, for chunks of
    another length than those it was made with, and ``record`` is 1 where a token set it, else 0.
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
        # the largest exponent that each chunk receives: from before, and from chunks before it
        total = tl.sum(log_f, 1)
        end = tl.cumsum(total, 0)
        left = tl.max(x, 1) + total - end
        before = tl.where(chunk[None, :] < chunk[:, None], left[None, :], float('-inf'))
        received = end - total + tl.maximum(tl.max(before, 1), m_in)
        running = tl.maximum(tl.associative_scan(x, 1, largest), received[:, None])
        m_in = tl.maximum(tl.max(left, 0), m_in) + tl.sum(total, 0)
        if GIVEN_M:
            m_t = tl.load(m + row + t, mask=inside, other=0.0)
            tl.store(record + row + t, (x == running).to(tl.float32), mask=inside)
        else:
            m_t = a + running
            tl.store(m + row + t, m_t, mask=inside)
        tl.store(read + row + t, a - m_t, mask=inside)
        tl.store(written + row + t, x, mask=inside)


@triton.jit
def gate_gradients(
    row_sum, column_sum, dm, record, fgate, digate, dfgate,
    length, heads, columns,
    f_batch, f_row, f_column, f_head,
    di_batch, di_row, di_column, di_head,
    df_batch, df_row, df_column, df_head,
    REVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """digate and dfgate, from the end of a sequence to its start; one program an image and head.

    Row and column sums of the derivative by the log-weights, the derivative dm by the stabiliser
    and the records: (B, NH, S) in reading order. A column's sum is the derivative by the token's
    own i. That by log sigmoid(f_t) is the sum of (row - column) from t onwards, and of dm up to the
    next record; at a record the sum of dm is instead i's.
    """
    image, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    fgate += image.to(tl.int64) * f_batch + head * f_head
    digate += image.to(tl.int64) * di_batch + head * di_head
    dfgate += image.to(tl.int64) * df_batch + head * df_head
    row = tl.program_id(0).to(tl.int64) * length
    later, later_dm = 0.0, 0.0
    place_in_block = tl.arange(0, BLOCK)
    for block in range(tl.cdiv(length, BLOCK)):
        t = length - 1 - block * BLOCK - place_in_block
        inside = t >= 0
        rows = tl.load(row_sum + row + t, mask=inside, other=0.0)
        written = tl.load(column_sum + row + t, mask=inside, other=0.0)
        dm_t = tl.load(dm + row + t, mask=inside, other=0.0)
        sets_m = tl.load(record + row + t, mask=inside, other=0.0)
        new = tl.load(record + row + t + 1, mask=inside & (t + 1 < length), other=0.0)
        since, any_new = tl.associative_scan((dm_t, new), 0, sum_since_reset)
        since += tl.where(any_new > 0, 0.0, later_dm)
        later_dm = tl.sum(tl.where(place_in_block == BLOCK - 1, since, 0.0), 0)
        dlog_f = later + tl.cumsum(rows - written, 0) + tl.where(sets_m > 0, 0.0, since)
        later += tl.sum(rows - written, 0)
        f_at = place(t, length, columns, f_row, f_column, REVERSE)
        f = tl.load(fgate + f_at, mask=inside, other=0.0).to(tl.float32)
        di_at = place(t, length, columns, di_row, di_column, REVERSE)
        tl.store(digate + di_at, written + tl.where(sets_m > 0, since, 0.0), mask=inside)
        df_at = place(t, length, columns, df_row, df_column, REVERSE)
        tl.store(dfgate + df_at, dlog_f / (1 + tl.exp(f)), mask=inside)
