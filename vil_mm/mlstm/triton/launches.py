"""Sizes of tiles and launches of the mLSTM's kernels: plain functions of tensors."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from vil_mm.mlstm.roofline import choose_triton_chunk
from vil_mm.mlstm.triton.backward import prepare_rows, query_key_gradients, value_gradients
from vil_mm.mlstm.triton.forward import outputs, states
from vil_mm.mlstm.triton.gates import gate_gradients, prepare_gates
from vil_mm.mlstm.triton.memory import empty, empty_grid, readable
from vil_mm.mlstm.triton.runtime import SHARED_MEMORY, CompileOptions, launch, shared_memory

GATES_PER_STEP = 2048  # tokens in one step of a scan over the gates: eight per thread
ROWS_PER_BLOCK = 32

# Arguments that several kernels share; each kernel takes those that it names.
Arguments = dict[str, Any]


def forward(
    q, k, v, igate, fgate, reverse: bool, chunk_size: int, eps: float, state_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """h, b, m of :func:`vil_mm.mlstm.triton.op.mlstm_op`; ``chunk_size`` 0 chooses."""
    h = empty_grid(q)
    q, k, v = (readable(x) for x in (q, k, v))
    batch, rows, columns, heads, width = q.shape
    length = rows * columns
    chunk = chunk_size or choose_triton_chunk(length, heads, width, q.element_size())
    shared = _sizes(q, chunk, reverse)
    m, b = (empty((batch, heads, length), q, torch.float32) for _ in range(2))
    shared |= _prepare_gates(shared, igate, fgate, m)
    C, n = None, None
    if length > chunk:
        written = shared['written']
        C, n = _states(shared, k, v, written, written, state_dtype)
    tiles = _output_tiles(q, chunk, state_dtype)
    launch(
        outputs,
        (triton.cdiv(length, tiles.rows), width // (tiles.own * tiles.tile), batch * heads),
        tiles.options,
        **shared, q=q, k=k, v=v, C=C, n=n, h=h, b=b, eps=eps,
        ROWS=tiles.rows, KEYS=tiles.keys, TILE=tiles.tile, OWN=tiles.own,
        KEEP_Q=q.element_size() == 2, HAS_STATE=C is not None,
    )  # fmt: skip
    return h, b, m


def backward(
    dh, q, k, v, igate, fgate, h, b, m, reverse: bool, eps: float, state_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dq, dk, dv, digate, dfgate of :func:`vil_mm.mlstm.triton.op.mlstm_backward_op`."""
    dq, dk, dv = (empty_grid(q) for _ in range(3))
    dh, q, k, v, h = (readable(x) for x in (dh, q, k, v, h))
    length = m.shape[-1]
    chunk = _gradient_chunk(q, length)
    shared = _sizes(q, chunk, reverse)
    shared |= _prepare_gates(shared, igate, fgate, m, is_argmax=empty(m.shape, m))
    shared |= _prepare_rows(shared, dh, h, b, eps)
    if length > chunk:
        written = shared['written']
        C, n = _states(shared, k, v, written, written, state_dtype)
        dC, dn = _states(
            shared, q, dh, shared['weight'], shared['weight_sum'], state_dtype, backward=True
        )
    else:
        C, n, dC, dn = None, None, None, None
    row_sum, column_sum = empty(m.shape, m), empty(m.shape, m)
    grid = (triton.cdiv(length, chunk), m.shape[0] * m.shape[1])
    options = tuple(CompileOptions(8 if chunk == 128 else 4, stages) for stages in (2, 3))
    shared |= {'q': q, 'k': k, 'v': v, 'dh': dh, 'C': C, 'n': n, 'dC': dC, 'dn': dn}
    shared |= {'TILE': _tile_width(q, state_dtype), 'HAS_STATE': C is not None}
    launch(value_gradients, grid, options, **shared, dv=dv)
    shared |= {'row_sum': row_sum, 'column_sum': column_sum}
    launch(query_key_gradients, grid, options, **shared, dq=dq, dk=dk)
    return dq, dk, dv, *_gate_gradients(shared, igate, fgate)


def _sizes(q: Tensor, chunk: int, reverse: bool) -> Arguments:
    _, rows, columns, heads, width = q.shape
    length = rows * columns
    return {
        'length': length,
        'heads': heads,
        'columns': columns,
        'num_chunks': triton.cdiv(length, chunk),
        'scale': width**-0.5,
        'REVERSE': reverse,
        'CHUNK': chunk,
        'WIDTH': width,
        'PRECISION': _precision(q),
    }


def _prepare_gates(
    shared: Arguments, igate, fgate, m: Tensor, is_argmax: Tensor | None = None
) -> Arguments:
    """The exponents; fills m or, if ``is_argmax`` is given, fills that and reads m."""
    gates = {'m': m, 'read': empty(m.shape, m), 'written': empty(m.shape, m)}
    gates |= {'is_argmax': is_argmax}
    most = max(GATES_PER_STEP // shared['CHUNK'], 1)
    launch(
        prepare_gates,
        (m.shape[0] * m.shape[1],),
        (CompileOptions(8),),
        **shared, **gates, igate=igate, fgate=fgate,
        CHUNKS=min(most, triton.next_power_of_2(shared['num_chunks'])),
        GIVEN_M=is_argmax is not None,
    )  # fmt: skip
    return gates


def _prepare_rows(shared: Arguments, dh: Tensor, h: Tensor, b: Tensor, eps: float) -> Arguments:
    names = ('r', 'd', 'dm', 'weight', 'weight_sum')
    rows = {name: empty(b.shape, b) for name in names}
    launch(
        prepare_rows,
        (triton.cdiv(shared['length'], ROWS_PER_BLOCK), b.shape[0] * b.shape[1]),
        (CompileOptions(4),),
        **shared, **rows, dh=dh, h=h, b=b, eps=eps,
        BLOCK=ROWS_PER_BLOCK, PADDED=triton.next_power_of_2(shared['WIDTH']),
    )  # fmt: skip
    return rows


def _states(
    shared: Arguments,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    weight_sum: Tensor,
    dtype: torch.dtype,
    backward: bool = False,
) -> tuple[Tensor, Tensor]:
    """C and n that each chunk receives, or backward dC and dn by those that it passes on."""
    batch, _, _, heads, width = x.shape
    chunks = shared['num_chunks']
    C = empty((batch, heads, chunks, width, width), x, dtype)
    n = empty((batch, heads, chunks, width), x, torch.float32)
    y_size = min(_power_of_two_in(width), 64 if _hopper_half(x) else 32)
    x_size = 128 if _hopper_half(x) and width % 128 == 0 else y_size
    launch(
        states,
        (batch * heads, width // x_size, width // y_size),
        (CompileOptions(4, 3),),
        **shared | {'weight': weight, 'weight_sum': weight_sum}, x=x, y=y, C=C, n=n,
        BACKWARD=backward, BLOCK=min(shared['CHUNK'], 64 if x.element_size() == 2 else 32),
        X=x_size, Y=y_size,
    )  # fmt: skip
    return C, n


def _gate_gradients(shared: Arguments, igate: Tensor, fgate: Tensor) -> tuple[Tensor, Tensor]:
    digate, dfgate = empty_grid(igate), empty_grid(fgate)
    launch(
        gate_gradients,
        (igate.shape[0] * igate.shape[-1],),
        (CompileOptions(8),),
        **shared, fgate=fgate, digate=digate, dfgate=dfgate, BLOCK=GATES_PER_STEP,
    )  # fmt: skip
    return digate, dfgate


class OutputTiles(NamedTuple):
    """How `outputs` is cut: tokens, keys per step, channels per tile, tiles of v per program."""

    rows: int
    keys: int
    tile: int
    own: int
    options: tuple[CompileOptions, ...]


def _output_tiles(q: Tensor, chunk: int, state_dtype: torch.dtype) -> OutputTiles:
    """The largest tiles that fit: q and two stages of k and v in shared memory, sums in registers.

    Hopper's matrix instructions want 128 rows on 8 warps; if those do not fit, 64 rows, then fewer
    keys. Sums take up to 192 channels per row on Hopper, 96 before. A float32 product consists of
    three and needs registers for their parts: 32 rows, 32 channels. A third stage, where it fits,
    is tried by timing.
    """
    width, size, tile = q.shape[-1], q.element_size(), _tile_width(q, state_dtype)
    if size == 4:
        return OutputTiles(32, 32, tile, _own_tiles(width, tile, 32), (CompileOptions(4),))
    own = _own_tiles(width, tile, 192 if _hopper_half(q) and state_dtype != torch.float32 else 96)
    for rows, keys in ((128, 64), (128, 32), (64, 64), (64, 32), (64, 16)):
        stage, rest = size * keys * (width + own * tile), size * rows * (width + keys)
        stages = (shared_memory(q.device) - rest) // stage
        if rows <= chunk and stages >= 2:
            break
    else:
        raise RuntimeError(
            f'heads of {width} channels need more shared memory than {q.device} has '
            f"({shared_memory(q.device)} bytes per program); use backend 'chunkwise'"
        )
    options = tuple(CompileOptions(rows // 16, n) for n in (2, 3) if n <= stages)
    return OutputTiles(rows, keys, tile, own, options)


def _own_tiles(width: int, tile: int, most: int) -> int:
    """The largest number of tiles, of at most ``most`` channels, that divides those of a head."""
    tiles = width // tile
    return max(n for n in range(1, tiles + 1) if tiles % n == 0 and (n == 1 or n * tile <= most))


def _gradient_chunk(q: Tensor, length: int) -> int:
    """Tokens per chunk in the backward pass, where a chunk is one tile."""
    return 32 if q.element_size() == 4 else 64 if length <= 64 else 128


def _tile_width(x: Tensor, state_dtype: torch.dtype) -> int:
    """Channels per tile: a power of two that divides the head's.

    64 feed Hopper's matrix instructions. Older GPUs, and float32 products made of three, have
    registers for fewer.
    """
    if x.element_size() == 4:
        most = 16
    else:
        most = 64 if _hopper_half(x) and state_dtype != torch.float32 else 32
    return min(_power_of_two_in(x.shape[-1]), most)


def _hopper_half(x: Tensor) -> bool:
    return x.element_size() == 2 and shared_memory(x.device) >= SHARED_MEMORY[90]


def _power_of_two_in(number: int) -> int:
    """The largest power of two that divides ``number``."""
    return number & -number


def _precision(x: Tensor) -> str:
    """How float32 products are computed: by three of tf32, or by one if PyTorch is allowed to."""
    if x.element_size() == 2:
        return 'tf32'  # states in float32 meet half precision, which loses more
    matmul = torch.backends.cuda.matmul
    one = getattr(matmul, 'fp32_precision', 'none') == 'tf32'  # PyTorch's newer setting
    with contextlib.suppress(RuntimeError):  # the older may not be read once the newer is in use
        one = one or matmul.allow_tf32
    return 'tf32' if one else 'tf32x3'
