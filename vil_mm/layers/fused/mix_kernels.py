"""Kernels of the local mixing. What the table of weights holds is told in ``mix.py``."""

from __future__ import annotations

import triton
import triton.language as tl

from vil_mm.layers.fused.tiles import neighbour, project, project_back, spread, two_parts
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
    x_batch, x_row, x_column, y_batch, y_row, y_column,
    TAPS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """a, q, k, v (strides y) and the part that ``groups`` tiles of channels have in the gates.

    gates: (programs along the channels, B, S, 8) float32.
    """
    Q: tl.constexpr = TAPS + 1
    image = tl.program_id(0) // tiles
    x += image.to(tl.int64) * x_batch
    y_image = image.to(tl.int64) * y_batch
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
        y_at = y_image + (row * y_row + column * y_column)[:, None] + channel
        tl.store(a + y_at, a_t.to(a.dtype.element_ty), mask=inside[:, None])
        q_t = project(a_t, table, Q, channels, channel)
        q_t += tl.load(table + (Q + 12) * channels + channel)
        tl.store(q + y_at, q_t.to(q.dtype.element_ty), mask=inside[:, None])
        k_t = project(a_t, table, Q + 4, channels, channel)
        k_t += tl.load(table + (Q + 13) * channels + channel)
        tl.store(k + y_at, k_t.to(k.dtype.element_ty), mask=inside[:, None])
        x_at = (row * x_row + column * x_column)[:, None] + channel
        x_t = tl.load(x + x_at, mask=inside[:, None], other=0.0)
        v_t = project(x_t.to(tl.float32), table, Q + 8, channels, channel)
        v_t += tl.load(table + (Q + 14) * channels + channel)
        tl.store(v + y_at, v_t.to(v.dtype.element_ty), mask=inside[:, None])
        of_a = table + (Q + 15 + gate % 8) * channels + tl.trans(channel)
        of_a = two_parts(tl.load(of_a), gate >= 8, x.dtype.element_ty).to(x.dtype.element_ty)
        # Read back: from registers the compiler would bring the whole convolution to the layout of
        # the product's operand.
        tl.debug_barrier()
        a_t = tl.load(a + y_at, mask=inside[:, None], other=0.0)
        total = dot(a_t, of_a, total, PRECISION)
        of_x = table + (Q + 23 + gate % 8) * channels + tl.trans(channel)
        of_x = two_parts(tl.load(of_x), gate >= 8, x.dtype.element_ty).to(x.dtype.element_ty)
        total = dot(x_t, of_x, total, PRECISION)
    total = tl.sum(tl.reshape(total, [TOKENS, 2, 8]), 1)
    gate = tl.arange(0, 8)[None, :]
    total += tl.load(bias + gate, mask=gate >= tl.program_id(1) * 8, other=0.0)
    n = (tl.program_id(1) * images + image).to(tl.int64) * length + t
    tl.store(gates + n[:, None] * 8 + gate, total, mask=inside[:, None])


@triton.jit
def backward_activation(
    x, table, a, da, dq, dk, dgates, dc, dtable,
    length, rows, columns, channels, tiles, steps, all_steps, sign,
    x_batch, x_row, x_column, y_batch, y_row, y_column,
    g_batch, g_row, g_column,
    TAPS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dc, and what ``steps`` tiles of tokens add to the gradients of q's, k's and a's weights.

    dtable: (programs along the tokens, rows of the table, E) float32. a, da, dq, dk and dc share
    the strides y.
    """
    Q: tl.constexpr = TAPS + 1
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    zero = tl.zeros([TOKENS, CHANNELS], tl.float32)
    of_q, of_k, of_biases = (zero, zero, zero, zero), (zero, zero, zero, zero), (zero, zero)
    of_gates = tl.zeros([CHANNELS, 16], tl.float32)
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
        y_at = image.to(tl.int64) * y_batch + (row * y_row + column * y_column)[:, None] + channel
        a_t = tl.load(a + y_at, mask=inside[:, None], other=0.0)
        a0, a1, a2, a3 = spread(a_t.to(tl.float32))
        dq_t = tl.load(dq + y_at, mask=inside[:, None], other=0.0).to(tl.float32)
        of_q = (of_q[0] + dq_t * a0, of_q[1] + dq_t * a1,
                of_q[2] + dq_t * a2, of_q[3] + dq_t * a3)  # fmt: skip
        da_t = project_back(dq_t, table, Q, channels, channel)
        dk_t = tl.load(dk + y_at, mask=inside[:, None], other=0.0).to(tl.float32)
        of_k = (of_k[0] + dk_t * a0, of_k[1] + dk_t * a1,
                of_k[2] + dk_t * a2, of_k[3] + dk_t * a3)  # fmt: skip
        da_t += project_back(dk_t, table, Q + 4, channels, channel)
        of_biases = (of_biases[0] + dq_t, of_biases[1] + dk_t)
        da_t += tl.load(da + y_at, mask=inside[:, None], other=0.0).to(tl.float32)
        g_at = image.to(tl.int64) * g_batch + row * g_row + column * g_column
        da_t += of_gate_gradients(dgates + g_at, inside, table, Q + 15, channels, channel)
        of_gates = into_gate_weights(a_t, dgates + g_at, inside, of_gates, PRECISION)
        dc_t = da_t * s * (1 + c * (1 - s))
        tl.store(dc + y_at, dc_t.to(dc.dtype.element_ty), mask=inside[:, None])
    dtable += tl.program_id(0).to(tl.int64) * (TAPS + 32) * channels
    for i in tl.static_range(4):
        store_row(dtable, Q + i, of_q[i], channels, channel)
        store_row(dtable, Q + 4 + i, of_k[i], channels, channel)
    store_row(dtable, Q + 12, of_biases[0], channels, channel)
    store_row(dtable, Q + 13, of_biases[1], channels, channel)
    store_gate_weights(dtable, Q + 15, of_gates, channels, channel)


@triton.jit
def backward_input(
    x, table, dc, dv, dgates, dx, dtable,
    length, rows, columns, channels, tiles, steps, all_steps, sign,
    x_batch, x_row, x_column, y_batch, y_row, y_column,
    g_batch, g_row, g_column,
    TAPS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dx, and what ``steps`` tiles of tokens add to the gradients of conv, v's and x's weights.

    A token's x reaches the c of the neighbours on the other side: the taps with the sign turned.
    """
    Q: tl.constexpr = TAPS + 1
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    zero = tl.zeros([TOKENS, CHANNELS], tl.float32)
    of_taps = ()
    for _ in tl.static_range(TAPS):
        of_taps = of_taps + (zero,)
    of_v, of_bias, of_v_bias = (zero, zero, zero, zero), zero, zero
    of_gates = tl.zeros([CHANNELS, 16], tl.float32)
    first = tl.program_id(0) * steps
    for step in range(first, tl.minimum(first + steps, all_steps)):
        image = step // tiles
        t = (step % tiles) * TOKENS + tl.arange(0, TOKENS)
        inside = t < length
        row, column = t // columns, t % columns
        x_at = image.to(tl.int64) * x_batch + (row * x_row + column * x_column)[:, None] + channel
        x_t = tl.load(x + x_at, mask=inside[:, None], other=0.0)
        y_image = image.to(tl.int64) * y_batch
        y_at = (row * y_row + column * y_column)[:, None] + channel
        dv_t = tl.load(dv + y_image + y_at, mask=inside[:, None], other=0.0).to(tl.float32)
        x0, x1, x2, x3 = spread(x_t.to(tl.float32))
        of_v = (of_v[0] + dv_t * x0, of_v[1] + dv_t * x1,
                of_v[2] + dv_t * x2, of_v[3] + dv_t * x3)  # fmt: skip
        of_v_bias += dv_t
        dx_t = project_back(dv_t, table, Q + 8, channels, channel)
        new_taps = ()
        for tap in tl.static_range(TAPS):
            at, there = neighbour(
                t, row, column, tap, -sign, length, rows, columns, y_row, y_column, TAPS == 4
            )
            dc_n = tl.load(dc + y_image + (at[:, None] + channel), mask=there[:, None], other=0.0)
            dc_n = dc_n.to(tl.float32)
            dx_t += dc_n * tl.load(table + tap * channels + channel)
            new_taps = new_taps + (of_taps[tap] + dc_n * x_t.to(tl.float32),)
            if tap == (3 if TAPS == 4 else 4):  # the token itself
                of_bias += dc_n
        of_taps = new_taps
        g_at = image.to(tl.int64) * g_batch + row * g_row + column * g_column
        dx_t += of_gate_gradients(dgates + g_at, inside, table, Q + 23, channels, channel)
        of_gates = into_gate_weights(x_t, dgates + g_at, inside, of_gates, PRECISION)
        tl.store(dx + y_image + y_at, dx_t.to(dx.dtype.element_ty), mask=inside[:, None])
    dtable += tl.program_id(0).to(tl.int64) * (TAPS + 32) * channels
    for tap in tl.static_range(TAPS):
        store_row(dtable, tap, of_taps[tap], channels, channel)
    store_row(dtable, TAPS, of_bias, channels, channel)
    for i in tl.static_range(4):
        store_row(dtable, Q + 8 + i, of_v[i], channels, channel)
    store_row(dtable, Q + 14, of_v_bias, channels, channel)
    store_gate_weights(dtable, Q + 23, of_gates, channels, channel)


@triton.jit
def of_gate_gradients(dgates, inside, table, first: tl.constexpr, channels, channel):
    """``dgates @ weights``: (N, C) float32. dgates: ``(N)`` places of the tokens' first gates.

    No matrix product, whose layout the compiler would carry into all that the result is added to.
    """
    total = tl.zeros([dgates.shape[0], channel.shape[1]], tl.float32)
    for j in tl.static_range(8):
        g = tl.load(dgates + j, mask=inside, other=0.0)
        total += g[:, None] * tl.load(table + (first + j) * channels + channel)
    return total


@triton.jit
def into_gate_weights(y, dgates, inside, total, PRECISION: tl.constexpr):
    """``total + y^T @ dgates`` in two parts: (C, 16), whose halves are to be added."""
    j = tl.arange(0, 16)[None, :]
    g = tl.load(dgates[:, None] + j % 8, mask=inside[:, None], other=0.0)
    g = two_parts(g, j >= 8, y.dtype).to(y.dtype)
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
