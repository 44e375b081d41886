"""Sizes of tiles and launches of the mLSTM's kernels: plain functions of tensors."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor

from vil_mm.mlstm.cost import choose_fused_chunk
from vil_mm.mlstm.triton.backward import prepare_rows, query_key_gradients, value_gradients
from vil_mm.mlstm.triton.forward import outputs, states
from vil_mm.mlstm.triton.gates import gate_gradients, prepare_gates
from vil_mm.mlstm.triton.runtime import (
    SHARED_MEMORY,
    Config,
    empty_in_order,
    launch,
    shared_memory,
)

# Entries of the gates that one step of their scans holds: eight a thread.
GATES_A_STEP = 2048


def forward(
    q, k, v, igate, fgate, reverse: bool, chunk_size: int, eps: float, float32_states: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """h, b, m; see :func:`vil_mm.mlstm.triton.op.mlstm_op`. ``chunk_size`` 0 chooses."""
    h = empty_in_order(q)
    q, k, v = (_dense_channels(x) for x in (q, k, v))
    batch, rows, columns, heads, width = q.shape
    length = rows * columns
    chunk = chunk_size or choose_fused_chunk(length, heads, width, q.element_size())
    m = q.new_empty((batch, heads, length), dtype=torch.float32)
    read, written = _exponents(igate, fgate, m, chunk, reverse)
    C, n = None, None
    if length > chunk:
        C, n = _states(k, v, written, written, read, m, chunk, reverse, False, float32_states)
    b = m.new_empty(m.shape)
    tiles = _output_tiles(q, chunk, float32_states)
    launch(
        outputs,
        (_blocks(length, tiles.rows), width // (tiles.own * tiles.tile), batch * heads),
        tiles.configs,
        q=q, k=k, v=v, read=read, written=written, m=m, C=C, n=n, h=h, b=b,
        length=length, heads=heads, columns=columns, num_chunks=_blocks(length, chunk),
        scale=width**-0.5, eps=eps, **_strides(q=q, k=k, v=v, h=h),
        REVERSE=reverse, CHUNK=chunk, ROWS=tiles.rows, KEYS=tiles.keys, WIDTH=width,
        TILE=tiles.tile, OWN=tiles.own, KEEP_Q=q.element_size() == 2, HAS_STATE=C is not None,
        PRECISION=_precision(q),
    )  # fmt: skip
    return h, b, m


def backward(
    dh, q, k, v, igate, fgate, h, b, m, reverse: bool, eps: float, float32_states: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dq, dk, dv, digate, dfgate; see :func:`vil_mm.mlstm.triton.op.mlstm_backward_op`."""
    dq, dk, dv = (empty_in_order(q) for _ in range(3))
    dh, q, k, v, h = (_dense_channels(x) for x in (dh, q, k, v, h))
    batch, rows, columns, heads, width = q.shape
    length = rows * columns
    chunk = _gradient_chunk(q, length)
    sizes = {'length': length, 'heads': heads, 'columns': columns}
    record = m.new_empty(m.shape)
    read, written = _exponents(igate, fgate, m, chunk, reverse, record)
    r, d, dm, weight, weight_sum = (m.new_empty(m.shape) for _ in range(5))
    block = 32
    launch(
        prepare_rows,
        (_blocks(length, block), batch * heads),
        (Config(4),),
        dh=dh, h=h, b=b, m=m, read=read, r=r, d=d, dm=dm, weight=weight, weight_sum=weight_sum,
        **sizes, scale=width**-0.5, eps=eps, **_strides(dh=dh, h=h),
        REVERSE=reverse, CHUNK=chunk, BLOCK=block, WIDTH=width, PADDED=_power_of_two(width),
    )  # fmt: skip

    C, n, dC, dn = None, None, None, None
    if length > chunk:
        C, n = _states(k, v, written, written, read, m, chunk, reverse, False, float32_states)
        dC, dn = _states(q, dh, weight, weight_sum, read, m, chunk, reverse, True, float32_states)
    row_sum, column_sum = m.new_empty(m.shape), m.new_empty(m.shape)
    grid = (_blocks(length, chunk), batch * heads)
    configs = tuple(Config(8 if chunk == 128 else 4, stages) for stages in (2, 3))
    common = dict(
        q=q, k=k, v=v, dh=dh, read=read, written=written, m=m, r=r, dC=dC,
        **sizes, num_chunks=_blocks(length, chunk),
        **_strides(q=q, k=k, v=v, dh=dh, out=dq),
        REVERSE=reverse, CHUNK=chunk, WIDTH=width, TILE=_tile_width(q, float32_states),
        HAS_STATE=C is not None, PRECISION=_precision(q),
    )  # fmt: skip
    launch(value_gradients, grid, configs, dv=dv, **common)
    launch(
        query_key_gradients, grid, configs,
        d=d, C=C, n=n, dn=dn, dq=dq, dk=dk, row_sum=row_sum, column_sum=column_sum, **common,
    )  # fmt: skip

    digate, dfgate = empty_in_order(igate), empty_in_order(fgate)
    launch(
        gate_gradients,
        (batch * heads,),
        (Config(8),),
        row_sum=row_sum, column_sum=column_sum, dm=dm, record=record,
        fgate=fgate, digate=digate, dfgate=dfgate, **sizes,
        **_strides(f=fgate, di=digate, df=dfgate), REVERSE=reverse, BLOCK=GATES_A_STEP,
    )  # fmt: skip
    return dq, dk, dv, digate, dfgate


def _exponents(
    igate, fgate, m, chunk: int, reverse: bool, record: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The exponents read and written; fills m or, where ``record`` is asked for, that from m."""
    read, written = m.new_empty(m.shape), m.new_empty(m.shape)
    batch, heads, length = m.shape
    chunks = min(max(GATES_A_STEP // chunk, 1), _power_of_two(_blocks(length, chunk)))
    launch(
        prepare_gates,
        (batch * heads,),
        (Config(8),),
        igate=igate, fgate=fgate, m=m, read=read, written=written, record=record,
        length=length, heads=heads, columns=igate.shape[2], **_strides(i=igate, f=fgate),
        REVERSE=reverse, CHUNK=chunk, CHUNKS=chunks, GIVEN_M=record is not None,
    )  # fmt: skip
    return read, written


def _states(
    x, y, weight, weight_sum, read, m, chunk: int, reverse: bool, backward: bool, float32: bool
) -> tuple[Tensor, Tensor]:
    """C and n that each chunk receives, or backward dC and dn that each is asked for."""
    batch, _, columns, heads, width = x.shape
    length = m.shape[-1]
    chunks = _blocks(length, chunk)
    dtype = torch.float32 if float32 else torch.bfloat16
    C = x.new_empty((batch, heads, chunks, width, width), dtype=dtype)
    n = x.new_empty((batch, heads, chunks, width), dtype=torch.float32)
    y_size = min(_power_of_two_in(width), 64 if _hopper_half(x) else 32)
    x_size = 128 if _hopper_half(x) and width % 128 == 0 else y_size
    launch(
        states,
        (batch * heads, width // x_size, width // y_size),
        (Config(4, 3),),
        x=x, y=y, weight=weight, weight_sum=weight_sum, read=read, m=m, C=C, n=n,
        length=length, heads=heads, columns=columns, num_chunks=chunks, **_strides(x=x, y=y),
        REVERSE=reverse, BACKWARD=backward, CHUNK=chunk,
        BLOCK=min(chunk, 64 if x.element_size() == 2 else 32),
        WIDTH=width, X=x_size, Y=y_size, PRECISION=_precision(x),
    )  # fmt: skip
    return C, n


class OutputTiles(NamedTuple):
    """How `outputs` is cut: tokens, keys at a time, channels of a tile, tiles of v a program."""

    rows: int
    keys: int
    tile: int
    own: int
    configs: tuple[Config, ...]


def _output_tiles(q: Tensor, chunk: int, float32_states: bool) -> OutputTiles:
    """What fits: q stays in shared memory beside two stages of keys and values, sums in registers.

    128 rows on 8 warps, as Hopper's matrix instructions want, where that fits; else 64, then fewer
    keys. Sums take 192 channels of a row, or 96 where rows are 64 (so are those before Hopper). A
    product of float32 is made of three and needs registers for their parts: 32 rows and channels.
    Where a third stage fits, it is measured whether it pays.
    """
    width, size, tile = q.shape[-1], q.element_size(), _tile_width(q, float32_states)
    if size == 4:
        return OutputTiles(32, 32, tile, _own_tiles(width, tile, 32), (Config(4),))
    own = _own_tiles(width, tile, 192 if _hopper_half(q) and not float32_states else 96)
    for rows, keys in ((128, 64), (128, 32), (64, 64), (64, 32), (64, 16)):
        stage, rest = size * keys * (width + own * tile), size * rows * (width + keys)
        stages = (shared_memory(q.device) - rest) // stage
        if rows <= chunk and stages >= 2:
            break
    else:
        raise RuntimeError(
            f'heads of {width} channels need more shared memory than {q.device} has '
            f'({shared_memory(q.device)} bytes a program); use the chunkwise form'
        )
    configs = tuple(Config(rows // 16, n) for n in (2, 3) if n <= stages)
    return OutputTiles(rows, keys, tile, own, configs)


def _own_tiles(width: int, tile: int, most: int) -> int:
    """The largest number of tiles, of at most ``most`` channels, that divides those of a head."""
    tiles = width // tile
    return max(n for n in range(1, tiles + 1) if tiles % n == 0 and (n == 1 or n * tile <= most))


def _gradient_chunk(q: Tensor, length: int) -> int:
    """Tokens a chunk in the backward pass, where the chunk is one tile of the products."""
    return 32 if q.element_size() == 4 else 64 if length <= 64 else 128


def _tile_width(x: Tensor, float32_states: bool) -> int:
    """Channels of a tile: a power of two that divides the head's.

    64 feed Hopper's matrix instructions; fewer leave registers enough on older GPUs, and where a
    product of float32 is made of three.
    """
    if x.element_size() == 4:
        most = 16
    else:
        most = 64 if _hopper_half(x) and not float32_states else 32
    return min(_power_of_two_in(x.shape[-1]), most)


def _hopper_half(x: Tensor) -> bool:
    return x.element_size() == 2 and shared_memory(x.device) >= SHARED_MEMORY[90]


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


def _blocks(length: int, size: int) -> int:
    return -(-length // size)


def _power_of_two(number: int) -> int:
    """The next one."""
    return 1 << (number - 1).bit_length()


def _power_of_two_in(number: int) -> int:
    """The largest that divides it."""
    return number & -number


def _precision(x: Tensor) -> str:
    """Of float32 products: three of tf32, which lose next to nothing, or one if PyTorch may."""
    if x.element_size() == 2:
        return 'tf32'  # for states in float32, whose products with half precision lose more
    matmul = torch.backends.cuda.matmul
    one = getattr(matmul, 'fp32_precision', 'none') == 'tf32'  # PyTorch's newer setting
    with contextlib.suppress(RuntimeError):  # the older may not be read once the newer is in use
        one = one or matmul.allow_tf32
    return 'tf32' if one else 'tf32x3'
