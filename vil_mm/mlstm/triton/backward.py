"""Backward kernels: the normaliser's derivative, and the gradients of q, k and v.

With W'_ts = (q_t . k_s) P_ts (no 1/sqrt(DH)), P_ts the weight of token s for token t, and per row

    r_t  = 1 / (sqrt(DH) N_t)
    d_t  = -sign(b_t) (dh_t . h_t) r_t where |b_t| is the normaliser, 0 where exp(-m_t) is,
           half of it where they are equal

the derivatives are (derived in :mod:`vil_mm.mlstm.chunkwise`)::

    dS_ts = (r_t dh_t . v_s + d_t) P_ts
    dq_t  = sum_s dS_ts k_s           + alpha_t (C (r_t dh_t) + d_t n)
    dk_s  = sum_t dS_ts q_t           + omega_s (dC v_s + dn)
    dv_s  = sum_t W'_ts r_t dh_t      + omega_s dC^T k_s

C, n is the state that the chunk receives; dC, dn is the derivative by the state that it passes on.
All paths through the stabiliser m add up to dm_t = -(dh_t . h_t) eps / N_t; see ``gates.py``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vil_mm.mlstm.triton.common import dot, token_offset


@triton.jit
def prepare_rows(
    dh, h, b, m, read, r, d, dm, weight, weight_sum,
    length, heads, columns, scale, eps,
    dh_batch, dh_row, dh_column, dh_head,
    h_batch, h_row, h_column, h_head,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
):  # fmt: skip
    """r, d and dm of ``BLOCK`` tokens, and the weights of q dh^T in dC and of q in dn.

    All are (B, NH, S) float32 in reading order.
    """
    pair = tl.program_id(1)
    image, head = pair // heads, pair % heads
    dh += image.to(tl.int64) * dh_batch + head * dh_head
    h += image.to(tl.int64) * h_batch + head * h_head
    row = pair.to(tl.int64) * length
    t = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, PADDED)
    inside = t < length
    mask = inside[:, None] & (channel < WIDTH)[None, :]
    dh_at = token_offset(t, length, columns, dh_row, dh_column, REVERSE)[:, None] + channel[None, :]
    h_at = token_offset(t, length, columns, h_row, h_column, REVERSE)[:, None] + channel[None, :]
    dh_t = tl.load(dh + dh_at, mask=mask, other=0.0).to(tl.float32)
    dh_h = tl.sum(dh_t * tl.load(h + h_at, mask=mask, other=0.0).to(tl.float32), 1)

    b_t = tl.load(b + row + t, mask=inside, other=0.0)
    m_t = tl.load(m + row + t, mask=inside, other=0.0)
    floor = tl.exp2(tl.minimum(-m_t, 115.0))
    N = tl.maximum(tl.abs(b_t), floor) + eps
    r_t = scale / N
    share = tl.where(tl.abs(b_t) > floor, 1.0, tl.where(tl.abs(b_t) == floor, 0.5, 0.0))
    sign = tl.where(b_t > 0, 1.0, tl.where(b_t < 0, -1.0, 0.0))
    d_t = -sign * share * dh_h * r_t
    m_in_at = (t // CHUNK) * CHUNK - 1
    m_in = tl.load(m + row + m_in_at, mask=inside & (m_in_at >= 0), other=float('-inf'))
    alpha = tl.exp2(tl.load(read + row + t, mask=inside, other=float('-inf')) + m_in)
    tl.store(r + row + t, r_t, mask=inside)
    tl.store(d + row + t, d_t, mask=inside)
    tl.store(dm + row + t, -dh_h * eps / N, mask=inside)
    tl.store(weight + row + t, alpha * r_t, mask=inside)
    tl.store(weight_sum + row + t, alpha * d_t, mask=inside)


@triton.jit
def value_gradients(
    q, k, dh, read, written, r, dC, dv,
    length, heads, columns, num_chunks,
    q_batch, q_row, q_column, q_head,
    k_batch, k_row, k_column, k_head,
    dh_batch, dh_row, dh_column, dh_head,
    dv_batch, dv_row, dv_column, dv_head,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr,
    HAS_STATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dv of one chunk, which is one tile: each product of two of its tokens is computed once."""
    c, pair = tl.program_id(0), tl.program_id(1)
    image, head = pair // heads, pair % heads
    q += image.to(tl.int64) * q_batch + head * q_head
    k += image.to(tl.int64) * k_batch + head * k_head
    dh += image.to(tl.int64) * dh_batch + head * dh_head
    dv += image.to(tl.int64) * dv_batch + head * dv_head
    row = pair.to(tl.int64) * length
    t = c * CHUNK + tl.arange(0, CHUNK)
    inside = t < length
    mask = inside[:, None]
    channel = tl.arange(0, TILE)
    q_at = token_offset(t, length, columns, q_row, q_column, REVERSE)[:, None] + channel[None, :]
    k_t = token_offset(t, length, columns, k_row, k_column, REVERSE)
    k_at = k_t[:, None] + channel[None, :]
    dh_at = token_offset(t, length, columns, dh_row, dh_column, REVERSE)[:, None] + channel[None, :]
    dv_at = token_offset(t, length, columns, dv_row, dv_column, REVERSE)[:, None] + channel[None, :]
    read_t = tl.load(read + row + t, mask=inside, other=float('-inf'))
    written_t = tl.load(written + row + t, mask=inside, other=float('-inf'))
    r_t = tl.load(r + row + t, mask=inside, other=0.0)

    S = tl.zeros([CHUNK, CHUNK], tl.float32)
    for i in range(WIDTH // TILE):
        q_i = tl.load(q + i * TILE + q_at, mask=mask, other=0.0)
        k_i = tl.load(k + i * TILE + k_t[None, :] + channel[:, None], inside[None, :], other=0.0)
        S = dot(q_i, k_i, S, PRECISION)
    causal = t[:, None] >= t[None, :]
    P = tl.where(causal, tl.exp2(read_t[:, None] + written_t[None, :]), 0.0)
    W = tl.trans((S * P * r_t[:, None]).to(dh.dtype.element_ty))
    if HAS_STATE:
        last = c * CHUNK + CHUNK - 1
        read_last = tl.load(read + row + last, mask=last < length, other=float('-inf'))
        omega = tl.exp2(written_t + read_last)
        dC += (pair.to(tl.int64) * num_chunks + c) * WIDTH * WIDTH
        dC_at = channel[:, None] * WIDTH + channel[None, :]
    for j in range(WIDTH // TILE):
        dv_j = tl.zeros([CHUNK, TILE], tl.float32)
        if HAS_STATE:
            for i in range(WIDTH // TILE):
                k_i = tl.load(k + i * TILE + k_at, mask=mask, other=0.0)
                dC_i = tl.load(dC + i * TILE * WIDTH + j * TILE + dC_at)
                dv_j = dot(k_i, dC_i, dv_j, PRECISION)
            dv_j *= omega[:, None]
        dh_j = tl.load(dh + j * TILE + dh_at, mask=mask, other=0.0)
        dv_j = dot(W, dh_j, dv_j, PRECISION)
        tl.store(dv + j * TILE + dv_at, dv_j.to(dv.dtype.element_ty), mask=mask)


@triton.jit
def query_key_gradients(
    q, k, v, dh, read, written, m, r, d, C, n, dC, dn, dq, dk, row_sum, column_sum,
    length, heads, columns, num_chunks,
    q_batch, q_row, q_column, q_head,
    k_batch, k_row, k_column, k_head,
    v_batch, v_row, v_column, v_head,
    dh_batch, dh_row, dh_column, dh_head,
    dq_batch, dq_row, dq_column, dq_head,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr,
    HAS_STATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq and dk (of equal strides) of one chunk, and q . dq and k . dk per token for the gates."""
    c, pair = tl.program_id(0), tl.program_id(1)
    image, head = pair // heads, pair % heads
    q += image.to(tl.int64) * q_batch + head * q_head
    k += image.to(tl.int64) * k_batch + head * k_head
    v += image.to(tl.int64) * v_batch + head * v_head
    dh += image.to(tl.int64) * dh_batch + head * dh_head
    dq += image.to(tl.int64) * dq_batch + head * dq_head
    dk += image.to(tl.int64) * dq_batch + head * dq_head
    row = pair.to(tl.int64) * length
    t = c * CHUNK + tl.arange(0, CHUNK)
    inside = t < length
    mask = inside[:, None]
    channel = tl.arange(0, TILE)
    q_at = token_offset(t, length, columns, q_row, q_column, REVERSE)[:, None] + channel[None, :]
    k_at = token_offset(t, length, columns, k_row, k_column, REVERSE)[:, None] + channel[None, :]
    v_t = token_offset(t, length, columns, v_row, v_column, REVERSE)
    dh_at = token_offset(t, length, columns, dh_row, dh_column, REVERSE)[:, None] + channel[None, :]
    dq_at = token_offset(t, length, columns, dq_row, dq_column, REVERSE)[:, None] + channel[None, :]
    read_t = tl.load(read + row + t, mask=inside, other=float('-inf'))
    written_t = tl.load(written + row + t, mask=inside, other=float('-inf'))
    r_t = tl.load(r + row + t, mask=inside, other=0.0)
    d_t = tl.load(d + row + t, mask=inside, other=0.0)

    G = tl.zeros([CHUNK, CHUNK], tl.float32)
    for i in range(WIDTH // TILE):
        dh_i = tl.load(dh + i * TILE + dh_at, mask=mask, other=0.0)
        v_i = tl.load(v + i * TILE + v_t[None, :] + channel[:, None], inside[None, :], other=0.0)
        G = dot(dh_i, v_i, G, PRECISION)
    causal = t[:, None] >= t[None, :]
    P = tl.where(causal, tl.exp2(read_t[:, None] + written_t[None, :]), 0.0)
    dS = ((G * r_t[:, None] + d_t[:, None]) * P).to(k.dtype.element_ty)
    if HAS_STATE:
        last = c * CHUNK + CHUNK - 1
        read_last = tl.load(read + row + last, mask=last < length, other=float('-inf'))
        m_in = tl.load(m + row + c * CHUNK - 1, mask=c > 0, other=float('-inf'))
        alpha = tl.exp2(read_t + m_in)
        omega = tl.exp2(written_t + read_last)
        state = (pair.to(tl.int64) * num_chunks + c) * WIDTH
        turned = channel[None, :] * WIDTH + channel[:, None]
    rows = tl.zeros([CHUNK], tl.float32)
    for j in range(WIDTH // TILE):
        dq_j = tl.zeros([CHUNK, TILE], tl.float32)
        if HAS_STATE:
            for i in range(WIDTH // TILE):
                dh_i = tl.load(dh + i * TILE + dh_at, mask=mask, other=0.0)
                C_i = tl.load(C + (state + j * TILE) * WIDTH + i * TILE + turned)
                dq_j = dot(dh_i, C_i, dq_j, PRECISION)
            n_j = tl.load(n + state + j * TILE + channel)
            dq_j = alpha[:, None] * (dq_j * r_t[:, None] + d_t[:, None] * n_j[None, :])
        k_j = tl.load(k + j * TILE + k_at, mask=mask, other=0.0)
        dq_j = dot(dS, k_j, dq_j, PRECISION)
        q_j = tl.load(q + j * TILE + q_at, mask=mask, other=0.0)
        rows += tl.sum(dq_j * q_j.to(tl.float32), 1)
        tl.store(dq + j * TILE + dq_at, dq_j.to(dq.dtype.element_ty), mask=mask)
    tl.store(row_sum + row + t, rows, mask=inside)

    dS = tl.trans(dS)
    v_at = v_t[:, None] + channel[None, :]
    sums = tl.zeros([CHUNK], tl.float32)
    for j in range(WIDTH // TILE):
        dk_j = tl.zeros([CHUNK, TILE], tl.float32)
        if HAS_STATE:
            for i in range(WIDTH // TILE):
                v_i = tl.load(v + i * TILE + v_at, mask=mask, other=0.0)
                dC_i = tl.load(dC + (state + j * TILE) * WIDTH + i * TILE + turned)
                dk_j = dot(v_i, dC_i, dk_j, PRECISION)
            dn_j = tl.load(dn + state + j * TILE + channel)
            dk_j = omega[:, None] * (dk_j + dn_j[None, :])
        q_j = tl.load(q + j * TILE + q_at, mask=mask, other=0.0)
        dk_j = dot(dS, q_j, dk_j, PRECISION)
        k_j = tl.load(k + j * TILE + k_at, mask=mask, other=0.0)
        sums += tl.sum(dk_j * k_j.to(tl.float32), 1)
        tl.store(dk + j * TILE + dq_at, dk_j.to(dk.dtype.element_ty), mask=mask)
    tl.store(column_sum + row + t, sums, mask=inside)
