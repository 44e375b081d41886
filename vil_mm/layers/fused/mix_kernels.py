"""Kernels of the local mixing. ``table.py`` describes the table of weights."""

from __future__ import annotations

import triton
import triton.language as tl

from vil_mm.layers.fused.tiles import neighbour, project, project_back, split_hi_lo, spread
from vil_mm.mlstm.triton.common import dot


@triton.jit
def convolve(
    x, table, t, row, column, channel, sign, length, rows, columns, channels, x_row, x_column,
    TAPS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Depthwise convolution with the first ``TAPS`` rows of the table, and its bias: float32."""
    total = tl.zeros([TOKENS, CHANNELS], tl.float32)
    total += tl.load(table + TAPS * channels + channel)
    for tap in tl.static_range(TAPS):
        at, there = neighbour(
            t, row, column, tap, sign, length, rows, columns, x_row, x_column, TAPS == 4
        )
        x_n = tl.load(x + (at[:, None] + channel), mask=there[:, None], other=0.0)
        total += x_n.to(tl.float32) * tl.load(table + tap * channels + channel)
    return total


@triton.jit
def forward(
    x, table, bias, a, q, k, v, gates,
    length, rows, columns, channels, images, tiles, groups, sign,
    x_batch, x_row, x_column, a_batch, a_row, a_column,
    TAPS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """a, q, k, v (of equal strides) and what ``groups`` tiles of channels add to the gates.

    gates: (programs along the channels, B, S, 8) float32.
    """
    Q: tl.constexpr = TAPS + 1
    image = tl.program_id(0) // tiles
    x += image.to(tl.int64) * x_batch
    a_image = image.to(tl.int64) * a_batch
    t = (tl.program_id(0) % tiles) * TOKENS + tl.arange(0, TOKENS)
    inside = t < length
    row, column = t // columns, t % columns
    gate = tl.arange(0, 16)
    total = tl.zeros([TOKENS, 16], tl.float32)
    for group in range(tl.program_id(1) * groups, (tl.program_id(1) + 1) * groups):
        channel = group * CHANNELS + tl.arange(0, CHANNELS)[None, :]
        c = convolve(
            x, table, t, row, column, channel, sign, length, rows, columns, channels,
            x_row, x_column, TAPS, TOKENS, CHANNELS,
        )  # fmt: skip
        a_t = c * tl.sigmoid(c)
        a_at = a_image + (row * a_row + column * a_column)[:, None] + channel
        tl.store(a + a_at, a_t.to(a.dtype.element_ty), mask=inside[:, None])
        q_t = project(a_t, table, Q, channels, channel)
        q_t += tl.load(table + (Q + 12) * channels + channel)
        tl.store(q + a_at, q_t.to(q.dtype.element_ty), mask=inside[:, None])
        k_t = project(a_t, table, Q + 4, channels, channel)
        k_t += tl.load(table + (Q + 13) * channels + channel)
        tl.store(k + a_at, k_t.to(k.dtype.element_ty), mask=inside[:, None])
        x_at = (row * x_row + column * x_column)[:, None] + channel
        x_t = tl.load(x + x_at, mask=inside[:, None], other=0.0)
        v_t = project(x_t.to(tl.float32), table, Q + 8, channels, channel)
        v_t += tl.load(table + (Q + 14) * channels + channel)
        tl.store(v + a_at, v_t.to(v.dtype.element_ty), mask=inside[:, None])
        gates_a = table + (Q + 15 + gate % 8) * channels + tl.trans(channel)
        gates_a = split_hi_lo(tl.load(gates_a), gate >= 8, x.dtype.element_ty).to(
            x.dtype.element_ty
        )
        # Reads a back from memory: in registers the compiler would convert the whole convolution to
        # the layout of the product's operand.
        tl.debug_barrier()
        a_t = tl.load(a + a_at, mask=inside[:, None], other=0.0)
        total = dot(a_t, gates_a, total, PRECISION)
        gates_x = table + (Q + 23 + gate % 8) * channels + tl.trans(channel)
        gates_x = split_hi_lo(tl.load(gates_x), gate >= 8, x.dtype.element_ty).to(
            x.dtype.element_ty
        )
        total = dot(x_t, gates_x, total, PRECISION)
    total = tl.sum(tl.reshape(total, [TOKENS, 2, 8]), 1)
    gate = tl.arange(0, 8)[None, :]
    total += tl.load(bias + gate, mask=gate >= tl.program_id(1) * 8, other=0.0)
    n = (tl.program_id(1) * images + image).to(tl.int64) * length + t
    tl.store(gates + n[:, None] * 8 + gate, total, mask=inside[:, None])


@triton.jit
def backward_activation(
    x, table, a, da, dq, dk, dgates, dc, dtable,
    length, rows, columns, channels, tiles, steps, all_steps, sign,
    x_batch, x_row, x_column, dc_batch, dc_row, dc_column,
    dgates_batch, dgates_row, dgates_column,
    TAPS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dc, and what ``steps`` tiles of tokens add to the gradients of q's, k's and a's weights.

    dtable: (programs along the tokens, rows of the table, E) float32. a, da, dq, dk and dc
    have the same strides.
    """
    Q: tl.constexpr = TAPS + 1
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    zero = tl.zeros([TOKENS, CHANNELS], tl.float32)
    dq_weight, dk_weight, dbiases = (zero, zero, zero, zero), (zero, zero, zero, zero), (zero, zero)
    dgate_weight = tl.zeros([CHANNELS, 16], tl.float32)
    first = tl.program_id(0) * steps
    for step in range(first, tl.minimum(first + steps, all_steps)):
        image = step // tiles
        t = (step % tiles) * TOKENS + tl.arange(0, TOKENS)
        inside = t < length
        row, column = t // columns, t % columns
        c = convolve(
            x + image.to(tl.int64) * x_batch, table, t, row, column, channel, sign,
            length, rows, columns, channels, x_row, x_column, TAPS, TOKENS, CHANNELS,
        )  # fmt: skip
        s = tl.sigmoid(c)
        dc_at = (
            image.to(tl.int64) * dc_batch + (row * dc_row + column * dc_column)[:, None] + channel
        )
        a_t = tl.load(a + dc_at, mask=inside[:, None], other=0.0)
        a0, a1, a2, a3 = spread(a_t.to(tl.float32))
        dq_t = tl.load(dq + dc_at, mask=inside[:, None], other=0.0).to(tl.float32)
        dq_weight = (dq_weight[0] + dq_t * a0, dq_weight[1] + dq_t * a1,
                dq_weight[2] + dq_t * a2, dq_weight[3] + dq_t * a3)  # fmt: skip
        da_t = project_back(dq_t, table, Q, channels, channel)
        dk_t = tl.load(dk + dc_at, mask=inside[:, None], other=0.0).to(tl.float32)
        dk_weight = (dk_weight[0] + dk_t * a0, dk_weight[1] + dk_t * a1,
                dk_weight[2] + dk_t * a2, dk_weight[3] + dk_t * a3)  # fmt: skip
        da_t += project_back(dk_t, table, Q + 4, channels, channel)
        dbiases = (dbiases[0] + dq_t, dbiases[1] + dk_t)
        da_t += tl.load(da + dc_at, mask=inside[:, None], other=0.0).to(tl.float32)
        g_at = image.to(tl.int64) * dgates_batch + row * dgates_row + column * dgates_column
        da_t += project_gates_back(dgates + g_at, inside, table, Q + 15, channels, channel)
        dgate_weight = add_gate_weights(a_t, dgates + g_at, inside, dgate_weight, PRECISION)
        dc_t = da_t * s * (1 + c * (1 - s))
        tl.store(dc + dc_at, dc_t.to(dc.dtype.element_ty), mask=inside[:, None])
    dtable += tl.program_id(0).to(tl.int64) * (TAPS + 32) * channels
    for i in tl.static_range(4):
        store_row(dtable, Q + i, dq_weight[i], channels, channel)
        store_row(dtable, Q + 4 + i, dk_weight[i], channels, channel)
    store_row(dtable, Q + 12, dbiases[0], channels, channel)
    store_row(dtable, Q + 13, dbiases[1], channels, channel)
    store_gate_weights(dtable, Q + 15, dgate_weight, channels, channel)


@triton.jit
def backward_input(
    x, table, dc, dv, dgates, dx, dtable,
    length, rows, columns, channels, tiles, steps, all_steps, sign,
    x_batch, x_row, x_column, dx_batch, dx_row, dx_column,
    dgates_batch, dgates_row, dgates_column,
    TAPS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dx, and what ``steps`` tiles of tokens add to the gradients of conv, v's and x's weights.

    A token's x reaches c of its neighbours through the taps turned by 180 degrees. dc, dv and dx
    have the same strides.
    """
    Q: tl.constexpr = TAPS + 1
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    zero = tl.zeros([TOKENS, CHANNELS], tl.float32)
    dtaps = ()
    for _ in tl.static_range(TAPS):
        dtaps = dtaps + (zero,)
    dv_weight, dbias, dv_bias = (zero, zero, zero, zero), zero, zero
    dgate_weight = tl.zeros([CHANNELS, 16], tl.float32)
    first = tl.program_id(0) * steps
    for step in range(first, tl.minimum(first + steps, all_steps)):
        image = step // tiles
        t = (step % tiles) * TOKENS + tl.arange(0, TOKENS)
        inside = t < length
        row, column = t // columns, t % columns
        x_at = image.to(tl.int64) * x_batch + (row * x_row + column * x_column)[:, None] + channel
        x_t = tl.load(x + x_at, mask=inside[:, None], other=0.0)
        dx_image = image.to(tl.int64) * dx_batch
        dx_at = (row * dx_row + column * dx_column)[:, None] + channel
        dv_t = tl.load(dv + dx_image + dx_at, mask=inside[:, None], other=0.0).to(tl.float32)
        x0, x1, x2, x3 = spread(x_t.to(tl.float32))
        dv_weight = (dv_weight[0] + dv_t * x0, dv_weight[1] + dv_t * x1,
                dv_weight[2] + dv_t * x2, dv_weight[3] + dv_t * x3)  # fmt: skip
        dv_bias += dv_t
        dx_t = project_back(dv_t, table, Q + 8, channels, channel)
        new_taps = ()
        for tap in tl.static_range(TAPS):
            at, there = neighbour(
                t, row, column, tap, -sign, length, rows, columns, dx_row, dx_column, TAPS == 4
            )
            dc_n = tl.load(dc + dx_image + (at[:, None] + channel), mask=there[:, None], other=0.0)
            dc_n = dc_n.to(tl.float32)
            dx_t += dc_n * tl.load(table + tap * channels + channel)
            new_taps = new_taps + (dtaps[tap] + dc_n * x_t.to(tl.float32),)
            if tap == (3 if TAPS == 4 else 4):  # the token itself
                dbias += dc_n
        dtaps = new_taps
        g_at = image.to(tl.int64) * dgates_batch + row * dgates_row + column * dgates_column
        dx_t += project_gates_back(dgates + g_at, inside, table, Q + 23, channels, channel)
        dgate_weight = add_gate_weights(x_t, dgates + g_at, inside, dgate_weight, PRECISION)
        tl.store(dx + dx_image + dx_at, dx_t.to(dx.dtype.element_ty), mask=inside[:, None])
    dtable += tl.program_id(0).to(tl.int64) * (TAPS + 32) * channels
    for tap in tl.static_range(TAPS):
        store_row(dtable, tap, dtaps[tap], channels, channel)
    store_row(dtable, TAPS, dbias, channels, channel)
    for i in tl.static_range(4):
        store_row(dtable, Q + 8 + i, dv_weight[i], channels, channel)
    store_row(dtable, Q + 14, dv_bias, channels, channel)
    store_gate_weights(dtable, Q + 23, dgate_weight, channels, channel)


@triton.jit
def project_gates_back(dgates, inside, table, first: tl.constexpr, channels, channel):
    """``dgates @ weights``: (N, C) float32. dgates: ``(N)`` pointers to each token's first gate.

    Not a matrix product: the compiler would carry its layout into everything it is added to.
    """
    total = tl.zeros([dgates.shape[0], channel.shape[1]], tl.float32)
    for j in tl.static_range(8):
        g = tl.load(dgates + j, mask=inside, other=0.0)
        total += g[:, None] * tl.load(table + (first + j) * channels + channel)
    return total


@triton.jit
def add_gate_weights(y, dgates, inside, total, PRECISION: tl.constexpr):
    """``total + y^T @ dgates`` as high and low parts: (C, 16), the caller adds both halves."""
    j = tl.arange(0, 16)[None, :]
    g = tl.load(dgates[:, None] + j % 8, mask=inside[:, None], other=0.0)
    g = split_hi_lo(g, j >= 8, y.dtype).to(y.dtype)
    return dot(tl.trans(y), g, total, PRECISION)


@triton.jit
def store_row(dtable, row: tl.constexpr, y, channels, channel):
    """The sum of ``(N, C)`` into a row of the table's gradient."""
    tl.store(dtable + row * channels + channel, tl.sum(y, 0)[None, :])


@triton.jit
def store_gate_weights(dtable, first: tl.constexpr, total, channels, channel):
    """(C, 16) into eight rows of the table's gradient."""
    total = tl.sum(tl.reshape(total, [total.shape[0], 2, 8]), 1)
    at = (first + tl.arange(0, 8)[None, :]) * channels + tl.trans(channel)
    tl.store(dtable + at, total)
