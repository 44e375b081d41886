"""Forward kernels: the states that chunks receive, and h."""

from __future__ import annotations

import triton
import triton.language as tl

from vil_mm.mlstm.triton.common import dot, token_offset


@triton.jit
def states(
    x, y, weight, weight_sum, read, m, C, n,
    length, heads, columns, num_chunks,
    x_batch, x_row, x_column, x_head,
    y_batch, y_row, y_column, y_head,
    REVERSE: tl.constexpr, BACKWARD: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
    WIDTH: tl.constexpr, X: tl.constexpr, Y: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """C_c = sum_t weight_t x_t y_t^T and n_c = sum_t weight_sum_t x_t over the chunks before c.

    Each chunk multiplies the sum so far by its decay. With ``BACKWARD``, the sums are over chunks
    after c: derivatives by the state that chunk c passes on. ``weight`` and ``weight_sum`` are
    (B, NH, S) float32: forward the exponents `written`, to which the decay to the chunk's end is
    added; backward the factors themselves.

    One program computes X rows and Y columns of the states of an image and head.
    C: (B, NH, chunks, WIDTH, WIDTH), n: (B, NH, chunks, WIDTH) float32.
    """
    pair = tl.program_id(0)
    image, head = pair // heads, pair % heads
    x_channel = tl.program_id(1) * X + tl.arange(0, X)
    y_channel = tl.program_id(2) * Y + tl.arange(0, Y)
    in_x, in_y = x_channel < WIDTH, y_channel < WIDTH
    x += image.to(tl.int64) * x_batch + head * x_head
    y += image.to(tl.int64) * y_batch + head * y_head
    row = pair.to(tl.int64) * length
    C += (
        pair.to(tl.int64) * num_chunks * WIDTH * WIDTH
        + x_channel[:, None] * WIDTH
        + y_channel[None, :]
    )
    n += pair.to(tl.int64) * num_chunks * WIDTH + x_channel
    C_mask = in_x[:, None] & in_y[None, :]
    total = tl.zeros([X, Y], tl.float32)
    total_n = tl.zeros([X], tl.float32)
    for block in range(num_chunks * (CHUNK // BLOCK)):
        step = num_chunks * (CHUNK // BLOCK) - 1 - block if BACKWARD else block
        c = step // (CHUNK // BLOCK)
        last = c * CHUNK + CHUNK - 1
        read_last = tl.load(read + row + last, mask=last < length, other=float('-inf'))
        if block % (CHUNK // BLOCK) == 0:
            at = c.to(tl.int64) * WIDTH
            tl.store(C + at * WIDTH, total.to(C.dtype.element_ty), mask=C_mask)
            if tl.program_id(2) == 0:
                tl.store(n + at, total_n, mask=in_x)
            m_in = tl.load(m + row + c * CHUNK - 1, mask=c > 0, other=float('-inf'))
            remains = tl.exp2(read_last + m_in)
            total *= remains
            total_n *= remains
        t = step * BLOCK + tl.arange(0, BLOCK)
        inside = t < length
        x_at = token_offset(t, length, columns, x_row, x_column, REVERSE)
        y_at = token_offset(t, length, columns, y_row, y_column, REVERSE)
        x_t = tl.load(
            x + x_channel[:, None] + x_at[None, :], in_x[:, None] & inside[None, :], other=0.0
        )
        y_t = tl.load(
            y + y_at[:, None] + y_channel[None, :], inside[:, None] & in_y[None, :], other=0.0
        )
        if BACKWARD:
            w = tl.load(weight + row + t, mask=inside, other=0.0)
            w_sum = tl.load(weight_sum + row + t, mask=inside, other=0.0)
        else:
            w = tl.exp2(tl.load(weight + row + t, mask=inside, other=float('-inf')) + read_last)
            w_sum = w
        x_f = x_t.to(tl.float32)
        total_n += tl.sum(x_f * w_sum[None, :], 1)
        total = dot((x_f * w[None, :]).to(y_t.dtype), y_t, total, PRECISION)


@triton.jit
def outputs(
    q, k, v, read, written, m, C, n, h, b,
    length, heads, columns, num_chunks, scale, eps,
    q_batch, q_row, q_column, q_head,
    k_batch, k_row, k_column, k_head,
    v_batch, v_row, v_column, v_head,
    h_batch, h_row, h_column, h_head,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    WIDTH: tl.constexpr, TILE: tl.constexpr, OWN: tl.constexpr, KEEP_Q: tl.constexpr,
    HAS_STATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """h and b for ``ROWS`` tokens and ``OWN`` tiles of ``TILE`` channels of v.

    Loops over the keys of the tokens' own chunk, ``KEYS`` at a time. All tokens before it are in
    the state C, n. b: (B, NH, S) float32, the signed normaliser.
    """
    TILES: tl.constexpr = WIDTH // TILE
    pair = tl.program_id(2)
    image, head = pair // heads, pair % heads
    first = tl.program_id(0) * ROWS
    c = first // CHUNK
    own = tl.program_id(1) * OWN * TILE
    q += image.to(tl.int64) * q_batch + head * q_head
    k += image.to(tl.int64) * k_batch + head * k_head
    v += image.to(tl.int64) * v_batch + head * v_head + own
    h += image.to(tl.int64) * h_batch + head * h_head + own
    row = pair.to(tl.int64) * length

    t = first + tl.arange(0, ROWS)
    t_in = t < length
    channel = tl.arange(0, TILE)
    q_at = token_offset(t, length, columns, q_row, q_column, REVERSE)[:, None] + channel[None, :]
    read_t = tl.load(read + row + t, mask=t_in, other=float('-inf'))
    m_t = tl.load(m + row + t, mask=t_in, other=0.0)
    b_t = tl.zeros([ROWS], tl.float32)
    u = ()
    for _ in tl.static_range(OWN):
        u = u + (tl.zeros([ROWS, TILE], tl.float32),)

    # 1. what q reads from the state
    if HAS_STATE:
        m_in = tl.load(m + row + c * CHUNK - 1, mask=c > 0, other=float('-inf'))
        alpha = tl.exp2(read_t + m_in)
        C += (pair.to(tl.int64) * num_chunks + c) * WIDTH * WIDTH + own
        n += (pair.to(tl.int64) * num_chunks + c) * WIDTH
        C_at = channel[:, None] * WIDTH + channel[None, :]
        for i in range(TILES):
            q_i = tl.load(q + i * TILE + q_at, mask=t_in[:, None], other=0.0)
            n_i = tl.load(n + i * TILE + channel)
            b_t += tl.sum(q_i.to(tl.float32) * n_i[None, :], 1)
            u_next = ()
            for j in tl.static_range(OWN):
                C_ij = tl.load(C + i * TILE * WIDTH + j * TILE + C_at)
                u_next = u_next + (dot(q_i, C_ij, u[j], PRECISION),)
            u = u_next
        b_t *= alpha
        u_next = ()
        for j in tl.static_range(OWN):
            u_next = u_next + (u[j] * (scale * alpha)[:, None],)
        u = u_next

    # 2. what it reads from the tokens of the chunk
    if KEEP_Q:
        q_t = ()
        for part in tl.static_range(TILES):
            q_t = q_t + (tl.load(q + part * TILE + q_at, mask=t_in[:, None], other=0.0),)
    for start in range(c * CHUNK, tl.minimum(first + ROWS, length), KEYS):
        s = start + tl.arange(0, KEYS)
        s_in = s < length
        k_at = (
            token_offset(s, length, columns, k_row, k_column, REVERSE)[None, :] + channel[:, None]
        )
        v_at = (
            token_offset(s, length, columns, v_row, v_column, REVERSE)[:, None] + channel[None, :]
        )
        W = tl.zeros([ROWS, KEYS], tl.float32)
        if KEEP_Q:
            for part in tl.static_range(TILES):
                k_part = tl.load(k + part * TILE + k_at, mask=s_in[None, :], other=0.0)
                W = dot(q_t[part], k_part, W, PRECISION)
        else:
            for i in range(TILES):
                q_i = tl.load(q + i * TILE + q_at, mask=t_in[:, None], other=0.0)
                k_i = tl.load(k + i * TILE + k_at, mask=s_in[None, :], other=0.0)
                W = dot(q_i, k_i, W, PRECISION)
        written_s = tl.load(written + row + s, mask=s_in, other=float('-inf'))
        causal = t[:, None] >= s[None, :]
        W *= tl.where(causal, tl.exp2(read_t[:, None] + written_s[None, :]), 0.0)
        b_t += tl.sum(W, 1)
        W_s = (W * scale).to(v.dtype.element_ty)
        u_next = ()
        for j in tl.static_range(OWN):
            v_j = tl.load(v + j * TILE + v_at, mask=s_in[:, None], other=0.0)
            u_next = u_next + (dot(W_s, v_j, u[j], PRECISION),)
        u = u_next

    # 3. the normaliser
    b_t *= scale
    floor = tl.exp2(tl.minimum(-m_t, 115.0))  # finite: beyond it h is zero either way
    N = tl.maximum(tl.abs(b_t), floor) + eps
    if tl.program_id(1) == 0:
        tl.store(b + row + t, b_t, mask=t_in)
    h_at = token_offset(t, length, columns, h_row, h_column, REVERSE)[:, None] + channel[None, :]
    for j in tl.static_range(OWN):
        h_j = u[j] / N[:, None]
        tl.store(h + j * TILE + h_at, h_j.to(h.dtype.element_ty), mask=t_in[:, None])
