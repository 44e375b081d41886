"""Kernels over the gates: stabilisers and decays before the matrix products, gradients after them.

Exponents are in base 2, because a GPU computes exp2. For chunks of L tokens, as in
:mod:`vil_mm.mlstm.chunkwise`:

    a_t = sum of log2 sigmoid(f) from the chunk's first token to t
    m_t = a_t + max(m_in, max_{s<=t} (i_s log2(e) - a_s))
    read_t = a_t - m_t        written_s = i_s log2(e) - a_s

Token s then has the weight exp2(read_t + written_s) for token t, and in the outgoing state
exp2(written_s + read of the last token). The incoming state has the weight exp2(read_t + m_in).
Rounding errors in m cancel, because numerator and denominator of h both scale with exp(-m).

The argmax of m_t is the last token up to t that set the maximum. Because of eps, the derivative by
m_t is not zero: it goes to that token's input gate and to the decays since.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vil_mm.mlstm.triton.common import token_offset

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def largest(x, y):
    return tl.maximum(x, y)


@triton.jit
def sum_since_reset(sum_1, reset_1, sum_2, reset_2):
    return tl.where(reset_2 > 0, sum_2, sum_1 + sum_2), tl.maximum(reset_1, reset_2)


@triton.jit
def log2_sigmoid(x):
    """log2(sigmoid(x)), to the precision of float32 for large x too (Kahan's log1p)."""
    y = tl.exp(-tl.abs(x))
    above = (1 + y) - 1
    log1p = tl.where(above > 0, tl.log(1 + y) * (y / tl.where(above > 0, above, 1.0)), y)
    return (tl.minimum(x, 0.0) - log1p) * LOG2_E


@triton.jit
def prepare_gates(
    igate, fgate, m, read, written, is_argmax,
    length, heads, columns,
    igate_batch, igate_row, igate_column, igate_head,
    fgate_batch, fgate_row, fgate_column, fgate_head,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, GIVEN_M: tl.constexpr,
):  # fmt: skip
    """m, read and written, (B, NH, S) float32 in reading order; one program per image and head.

    A step covers ``CHUNKS`` chunks. With ``GIVEN_M``, m is read instead (its chunks may have had
    another length), and ``is_argmax`` becomes 1 for tokens that set the maximum, else 0.
    """
    image, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    igate += image.to(tl.int64) * igate_batch + head * igate_head
    fgate += image.to(tl.int64) * fgate_batch + head * fgate_head
    row = tl.program_id(0).to(tl.int64) * length
    chunk = tl.arange(0, CHUNKS)
    token = chunk[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    m_in = float('-inf')
    for start in range(0, length, CHUNK * CHUNKS):
        t = start + token
        inside = t < length
        f_at = token_offset(t, length, columns, fgate_row, fgate_column, REVERSE)
        i_at = token_offset(t, length, columns, igate_row, igate_column, REVERSE)
        log_f = log2_sigmoid(tl.load(fgate + f_at, mask=inside, other=float('inf')).to(tl.float32))
        i = tl.load(igate + i_at, mask=inside, other=float('-inf')).to(tl.float32) * LOG2_E
        a = tl.cumsum(log_f, 1)
        x = i - a
        # the largest exponent that each chunk receives, from earlier chunks of this step or before
        total = tl.sum(log_f, 1)
        end = tl.cumsum(total, 0)
        left = tl.max(x, 1) + total - end
        before = tl.where(chunk[None, :] < chunk[:, None], left[None, :], float('-inf'))
        received = end - total + tl.maximum(tl.max(before, 1), m_in)
        running = tl.maximum(tl.associative_scan(x, 1, largest), received[:, None])
        m_in = tl.maximum(tl.max(left, 0), m_in) + tl.sum(total, 0)
        if GIVEN_M:
            m_t = tl.load(m + row + t, mask=inside, other=0.0)
            tl.store(is_argmax + row + t, (x == running).to(tl.float32), mask=inside)
        else:
            m_t = a + running
            tl.store(m + row + t, m_t, mask=inside)
        tl.store(read + row + t, a - m_t, mask=inside)
        tl.store(written + row + t, x, mask=inside)


@triton.jit
def gate_gradients(
    row_sum, column_sum, dm, is_argmax, fgate, digate, dfgate,
    length, heads, columns,
    fgate_batch, fgate_row, fgate_column, fgate_head,
    digate_batch, digate_row, digate_column, digate_head,
    dfgate_batch, dfgate_row, dfgate_column, dfgate_head,
    REVERSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """digate and dfgate, from the end of a sequence to its start; one program per image and head.

    row_sum and column_sum (of the derivative by the log-weights), dm (the derivative by m) and
    is_argmax are (B, NH, S) in reading order. The derivative by i_t is the column's sum; that by
    log sigmoid(f_t) is the sum of (row - column) from t onwards, plus the sum of dm from t to the
    next argmax. If t itself is an argmax, that sum of dm goes to i_t instead.
    """
    image, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    fgate += image.to(tl.int64) * fgate_batch + head * fgate_head
    digate += image.to(tl.int64) * digate_batch + head * digate_head
    dfgate += image.to(tl.int64) * dfgate_batch + head * dfgate_head
    row = tl.program_id(0).to(tl.int64) * length
    later, later_dm = 0.0, 0.0
    index = tl.arange(0, BLOCK)
    for block in range(tl.cdiv(length, BLOCK)):
        t = length - 1 - block * BLOCK - index
        inside = t >= 0
        rows = tl.load(row_sum + row + t, mask=inside, other=0.0)
        written = tl.load(column_sum + row + t, mask=inside, other=0.0)
        dm_t = tl.load(dm + row + t, mask=inside, other=0.0)
        argmax_t = tl.load(is_argmax + row + t, mask=inside, other=0.0)
        next_argmax = tl.load(is_argmax + row + t + 1, mask=inside & (t + 1 < length), other=0.0)
        since, any_argmax = tl.associative_scan((dm_t, next_argmax), 0, sum_since_reset)
        since += tl.where(any_argmax > 0, 0.0, later_dm)
        later_dm = tl.sum(tl.where(index == BLOCK - 1, since, 0.0), 0)
        dlog_f = later + tl.cumsum(rows - written, 0) + tl.where(argmax_t > 0, 0.0, since)
        later += tl.sum(rows - written, 0)
        f_at = token_offset(t, length, columns, fgate_row, fgate_column, REVERSE)
        f = tl.load(fgate + f_at, mask=inside, other=0.0).to(tl.float32)
        di_at = token_offset(t, length, columns, digate_row, digate_column, REVERSE)
        tl.store(digate + di_at, written + tl.where(argmax_t > 0, since, 0.0), mask=inside)
        df_at = token_offset(t, length, columns, dfgate_row, dfgate_column, REVERSE)
        tl.store(dfgate + df_at, dlog_f / (1 + tl.exp(f)), mask=inside)
