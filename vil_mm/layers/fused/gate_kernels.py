"""Kernels of head norm, skip and output gate. A program has one head and a tile of tokens."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def normalise(h, mask, width, eps):
    """Rows of a head with mean 0 and deviation 1, and one over their deviation before, (N, 1)."""
    centred = tl.where(mask, h - (tl.sum(h, 1) / width)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / width + eps)[:, None]
    return centred * scale, scale


@triton.jit
def forward(
    h, a, z, weight, bias, skip, y,
    length, columns, width, tiles, eps,
    h_batch, h_row, h_column, h_head, a_batch, a_row, a_column, z_batch, z_row, z_column,
    y_batch, y_row, y_column,
    TOKENS: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """y for a tile of ``TOKENS`` tokens; ``PADDED`` is the next power of two from ``width``."""
    image, head = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(1)
    t = (tl.program_id(0) % tiles) * TOKENS + tl.arange(0, TOKENS)
    row, column = t // columns, t % columns
    own = tl.arange(0, PADDED)
    channel = head * width + own[None, :]
    mask = (t < length)[:, None] & (own < width)[None, :]
    h_at = image * h_batch + head * h_head + (row * h_row + column * h_column)[:, None] + own
    h_t = tl.load(h + h_at, mask=mask, other=0.0).to(tl.float32)
    a_at = image * a_batch + (row * a_row + column * a_column)[:, None] + channel
    a_t = tl.load(a + a_at, mask=mask, other=0.0).to(tl.float32)
    z_at = image * z_batch + (row * z_row + column * z_column)[:, None] + channel
    z_t = tl.load(z + z_at, mask=mask, other=0.0).to(tl.float32)
    n, _ = normalise(h_t, mask, width, eps)
    in_head = (own < width)[None, :]
    u = n * (1 + tl.load(weight + channel, mask=in_head, other=0.0))
    u += a_t * tl.load(skip + channel, mask=in_head, other=0.0)
    if bias is not None:
        u += tl.load(bias + channel, mask=in_head, other=0.0)
    y_at = image * y_batch + (row * y_row + column * y_column)[:, None] + channel
    tl.store(y + y_at, (u * z_t * tl.sigmoid(z_t)).to(y.dtype.element_ty), mask=mask)


@triton.jit
def backward(
    h, a, z, dy, weight, bias, skip, dh, da, dz, sums,
    length, columns, width, tiles, steps, all_steps, eps,
    h_batch, h_row, h_column, h_head, a_batch, a_row, a_column, z_batch, z_row, z_column,
    dy_batch, dy_row, dy_column, dh_batch, dh_row, dh_column, dh_head,
    da_batch, da_row, da_column, dz_batch, dz_row, dz_column,
    TOKENS: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """dh, da, dz for ``steps`` tiles of tokens, and what they add to the weights' gradients.

    sums: (programs along the tokens, 3, E) float32, for weight, bias and skip.
    """
    head = tl.program_id(1)
    own = tl.arange(0, PADDED)
    channel = head * width + own[None, :]
    in_head = (own < width)[None, :]
    dweight = tl.zeros([TOKENS, PADDED], tl.float32)
    dbias = tl.zeros([TOKENS, PADDED], tl.float32)
    dskip = tl.zeros([TOKENS, PADDED], tl.float32)
    first = tl.program_id(0) * steps
    for step in range(first, tl.minimum(first + steps, all_steps)):
        image = (step // tiles).to(tl.int64)
        t = (step % tiles) * TOKENS + tl.arange(0, TOKENS)
        row, column = t // columns, t % columns
        mask = (t < length)[:, None] & in_head
        h_at = image * h_batch + head * h_head + (row * h_row + column * h_column)[:, None] + own
        h_t = tl.load(h + h_at, mask=mask, other=0.0).to(tl.float32)
        a_at = image * a_batch + (row * a_row + column * a_column)[:, None] + channel
        a_t = tl.load(a + a_at, mask=mask, other=0.0).to(tl.float32)
        z_at = image * z_batch + (row * z_row + column * z_column)[:, None] + channel
        z_t = tl.load(z + z_at, mask=mask, other=0.0).to(tl.float32)
        dy_at = image * dy_batch + (row * dy_row + column * dy_column)[:, None] + channel
        dy_t = tl.load(dy + dy_at, mask=mask, other=0.0).to(tl.float32)
        n, scale = normalise(h_t, mask, width, eps)
        factor = 1 + tl.load(weight + channel, mask=in_head, other=0.0)
        skip_c = tl.load(skip + channel, mask=in_head, other=0.0)
        u = n * factor + a_t * skip_c
        if bias is not None:
            u += tl.load(bias + channel, mask=in_head, other=0.0)
        s = tl.sigmoid(z_t)
        dz_t = dy_t * u * s * (1 + z_t * (1 - s))
        dz_at = image * dz_batch + (row * dz_row + column * dz_column)[:, None] + channel
        tl.store(dz + dz_at, dz_t.to(dz.dtype.element_ty), mask=mask)
        du = dy_t * z_t * s
        da_at = image * da_batch + (row * da_row + column * da_column)[:, None] + channel
        tl.store(da + da_at, (du * skip_c).to(da.dtype.element_ty), mask=mask)
        dweight += du * n
        dbias += du
        dskip += du * a_t
        dn = du * factor
        mean = (tl.sum(dn, 1) / width)[:, None]
        along = (tl.sum(dn * n, 1) / width)[:, None]
        dh_t = scale * (dn - mean - n * along)
        dh_at = image * dh_batch + head * dh_head + own
        dh_at += (row * dh_row + column * dh_column)[:, None]
        tl.store(dh + dh_at, dh_t.to(dh.dtype.element_ty), mask=mask)
    channels = tl.num_programs(1) * width
    sums += tl.program_id(0).to(tl.int64) * 3 * channels + channel
    tl.store(sums, tl.sum(dweight, 0)[None, :], mask=in_head)
    tl.store(sums + channels, tl.sum(dbias, 0)[None, :], mask=in_head)
    tl.store(sums + 2 * channels, tl.sum(dskip, 0)[None, :], mask=in_head)
