"""Sizes of tiles and launches of the mLSTM's kernels: plain functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from vil_mm.mlstm.cost import choose_fused_chunks
from vil_mm.mlstm.triton.backward import gradients, prepare_rows
from vil_mm.mlstm.triton.forward import outputs, states
from vil_mm.mlstm.triton.gates import gate_gradients, prepare_gates
from vil_mm.mlstm.triton.op import empty_in_order
from vil_mm.mlstm.triton.runtime import Config, launch


def forward(
    q, k, v, igate, fgate, reverse: bool, chunk_size: int, eps: float, float32_states: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """h, b, m; see :func:`vil_mm.mlstm.triton.op.mlstm_op`. ``chunk_size`` 0 chooses."""
    q, k, v = (_dense_channels(x) for x in (q, k, v))
    batch, _, columns, heads, width = q.shape
    length = q.shape[1] * columns
    chunk = chunk_size or choose_fused_chunks(length, width).forward
    m = q.new_empty((batch, heads, length), dtype=torch.float32)
    read, written = _prepare(igate, fgate, m, chunk, reverse, given_m=False)
    h, b = empty_in_order(q), torch.empty_like(m)
    C, n = (
        _states(k, v, written, written, read, m, chunk, reverse, False, float32_states)
        if length > chunk
        else (None, None)
    )

    tile = tile_width(width)
    own = _tiles_of_one_program(width, tile, q.dtype)
    rows = 64 if q.dtype == torch.float32 else min(chunk, 128)
    grid = (-(-length // rows), width // (own * tile), batch * heads)
    arguments = dict(
        zip(('q', 'k', 'v', 'read', 'written', 'm'), (q, k, v, read, written, m), strict=True),
        C=C,
        n=n,
        h=h,
        b=b,
        length=length,
        heads=heads,
        columns=columns,
        num_chunks=-(-length // chunk),
        scale=width**-0.5,
        eps=eps,
        **_strides(q=q, k=k, v=v, h=h),
    )
    launch(
        outputs,
        grid,
        _OUTPUT_CONFIGS[q.dtype.itemsize],
        **arguments,
        REVERSE=reverse,
        CHUNK=chunk,
        ROWS=rows,
        KEYS=64 if q.dtype.itemsize == 2 else 32,
        WIDTH=width,
        TILE=tile,
        OWN=own,
        HAS_STATE=C is not None,
        PRECISION=_precision(),
    )
    return h, b, m


def backward(
    dh, q, k, v, igate, fgate, h, b, m, reverse: bool, eps: float, float32_states: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dq, dk, dv, digate, dfgate; see :func:`vil_mm.mlstm.triton.op.mlstm_backward_op`."""
    dh, q, k, v, h = (_dense_channels(x) for x in (dh, q, k, v, h))
    batch, _, columns, heads, width = q.shape
    length = q.shape[1] * columns
    chunk = 128 if q.dtype.itemsize == 2 and length > 64 else 64
    read, written = _prepare(igate, fgate, m, chunk, reverse, given_m=True)
    r, d, weight, weight_sum = (torch.empty_like(m) for _ in range(4))
    sizes = dict(length=length, heads=heads, columns=columns)
    scale = width**-0.5
    block = 32
    launch(
        prepare_rows,
        (-(-length // block), batch * heads),
        (Config(4),),
        dh=dh, h=h, b=b, m=m, read=read, r=r, d=d, weight=weight, weight_sum=weight_sum,
        **sizes, scale=scale, eps=eps, **_strides(dh=dh, h=h),
        REVERSE=reverse, CHUNK=chunk, BLOCK=block, WIDTH=width, PADDED=_power_of_two(width),
    )  # fmt: skip
    if length > chunk:
        C, n = _states(k, v, written, written, read, m, chunk, reverse, False, float32_states)
        dC, dn = _states(q, dh, weight, weight_sum, read, m, chunk, reverse, True, float32_states)
    else:
        C = n = dC = dn = None
    dq, dk, dv = (empty_in_order(q) for _ in range(3))
    row_sum, column_sum = torch.empty_like(m), torch.empty_like(m)
    launch(
        gradients,
        (-(-length // chunk), batch * heads),
        _GRADIENT_CONFIGS[q.dtype.itemsize],
        q=q, k=k, v=v, dh=dh, read=read, written=written, m=m, r=r, d=d,
        C=C, n=n, dC=dC, dn=dn, dq=dq, dk=dk, dv=dv, row_sum=row_sum, column_sum=column_sum,
        **sizes, num_chunks=-(-length // chunk), **_strides(q=q, k=k, v=v, dh=dh, out=dq),
        REVERSE=reverse, CHUNK=chunk, WIDTH=width, TILE=tile_width(width),
        HAS_STATE=C is not None, PRECISION=_precision(),
    )  # fmt: skip
    digate, dfgate = empty_in_order(igate), empty_in_order(fgate)
    launch(
        gate_gradients,
        (batch * heads,),
        (Config(8),),
        row_sum=row_sum, column_sum=column_sum, fgate=fgate, digate=digate, dfgate=dfgate,
        **sizes, **_strides(f=fgate, d=digate), REVERSE=reverse, BLOCK=2048,
    )  # fmt: skip
    return dq, dk, dv, digate, dfgate


# Warps: 4 for 64 rows of a product, 8 for 128, so that a thread holds at most 64 of an accumulator's
# 128 x 64 entries... two such fit. Stages: as many as shared memory holds of the widest head.
_OUTPUT_CONFIGS = {2: (Config(8, 2), Config(8, 3)), 4: (Config(4, 2),)}
_GRADIENT_CONFIGS = {2: (Config(8, 2), Config(8, 1)), 4: (Config(8, 1),)}
_STATE_CONFIGS = {2: (Config(4, 3), Config(4, 4)), 4: (Config(4, 2),)}


def tile_width(width: int) -> int:
    """Channels of a tile: the largest power of two up to 64 that divides the head's."""
    return min(width & -width, 64)


def _tiles_of_one_program(width: int, tile: int, dtype: torch.dtype) -> int:
    """Tiles of v whose sums one program keeps in registers: 256 channels, 64 of float32."""
    tiles, most = width // tile, (256 if dtype.itemsize == 2 else 64) // tile
    return max(n for n in range(1, tiles + 1) if tiles % n == 0 and n <= max(most, 1))


def _prepare(igate, fgate, m, chunk: int, reverse: bool, given_m: bool) -> tuple[Tensor, Tensor]:
    """The exponents read and written, and m where it is not given."""
    read, written = torch.empty_like(m), torch.empty_like(m)
    batch, heads, length = m.shape
    launch(
        prepare_gates,
        (batch * heads,),
        (Config(8),),
        igate=igate, fgate=fgate, m=m, read=read, written=written,
        length=length, heads=heads, columns=igate.shape[2], **_strides(i=igate, f=fgate),
        REVERSE=reverse, CHUNK=chunk, CHUNKS=min(max(4096 // chunk, 1), _power_of_two(-(-length // chunk))),
        GIVEN_M=given_m,
    )  # fmt: skip
    return read, written


def _states(
    x, y, weight, weight_sum, read, m, chunk: int, reverse: bool, backward: bool, float32: bool
) -> tuple[Tensor, Tensor]:
    """C and n that each chunk receives, or backward dC and dn that each is asked for."""
    batch, _, columns, heads, width = x.shape
    length = m.shape[-1]
    chunks = -(-length // chunk)
    dtype = torch.float32 if float32 else torch.bfloat16
    C = x.new_empty((batch, heads, chunks, width, width), dtype=dtype)
    n = x.new_empty((batch, heads, chunks, width), dtype=torch.float32)
    y_size = tile_width(width)
    x_size = 128 if width % 128 == 0 and x.dtype.itemsize == 2 else y_size
    launch(
        states,
        (batch * heads, width // x_size, width // y_size),
        _STATE_CONFIGS[x.dtype.itemsize],
        x=x, y=y, weight=weight, weight_sum=weight_sum, read=read, m=m, C=C, n=n,
        length=length, heads=heads, columns=columns, num_chunks=chunks, **_strides(x=x, y=y),
        REVERSE=reverse, BACKWARD=backward, CHUNK=chunk, BLOCK=64, WIDTH=width,
        X=x_size, Y=y_size, PRECISION=_precision(),
    )  # fmt: skip
    return C, n


def _strides(**tensors: Tensor) -> dict[str, int]:
    """Kernel arguments of the strides of (B, S1, S2, NH, ...)."""
    names = ('batch', 'row', 'column', 'head')
    return {
        f'{tensor}_{name}': stride
        for tensor, x in tensors.items()
        for name, stride in zip(names, x.stride(), strict=False)
    }


def _dense_channels(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _precision() -> str:
    """Of float32 products: three products of tf32, which lose nothing, or one if PyTorch may."""
    return 'tf32' if torch.backends.cuda.matmul.allow_tf32 else 'tf32x3'
