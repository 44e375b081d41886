"""Sizes of tiles and launches of the layer's kernels: plain functions of tensors.

Head norm, skip and output gate: one kernel forward, one backward. Local mixing: one kernel forward,
two backward.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from vil_mm.layers.fused import gate_kernels, mix_kernels
from vil_mm.layers.fused.table import AFTER_CONV, CHANNELS, GATES
from vil_mm.mlstm.triton.memory import empty, empty_grid, readable, readable_as
from vil_mm.mlstm.triton.runtime import CompileOptions, launch

# Entries of a tile of the output gate: 16 per thread forward; 8 backward, where registers hold
# twice as many tensors.
GATE_ENTRIES = 2048
# Tokens of a tile of the local mixing. Forward a thread has 8 channels of 2 tokens, backward 4 of
# one: it keeps sums for all rows of the table that its kernel differentiates, and more would spill.
MIX_TOKENS, MIX_TOKENS_BACKWARD = 32, 16
# One stage: the kernels have no loop that a pipeline through shared memory would speed up.
FORWARD = (CompileOptions(num_warps=4, num_stages=1),)
BACKWARD = (CompileOptions(num_warps=8, num_stages=1),)
# Enough programs to fill 132 multiprocessors several times. Not read from the device, so that sums
# are taken in the same order on every GPU.
PROGRAMS = 1024


def gate_forward(
    h: Tensor,
    a: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    eps: float,
) -> Tensor:
    """Arguments and result of :func:`vil_mm.layers.fused.gate.gate_op`."""
    y = empty_grid(z)
    h, a, z = readable(h), readable(a), readable(z)
    sizes = _gate_sizes(h)
    launch(
        gate_kernels.forward, (h.shape[0] * sizes['tiles'], h.shape[3]), FORWARD,
        **sizes, h=h, a=a, z=z, weight=weight, bias=bias, skip=skip, eps=eps, y=y,
    )  # fmt: skip
    return y


def gate_backward(
    h: Tensor,
    a: Tensor,
    z: Tensor,
    dy: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Arguments and results of :func:`vil_mm.layers.fused.gate.gate_backward_op`."""
    dh, da, dz = empty_grid(h), empty_grid(a), empty_grid(z)
    h, a, z, dy = readable(h), readable(a), readable(z), readable(dy)
    sizes = _gate_sizes(h)
    all_steps, heads = h.shape[0] * sizes['tiles'], h.shape[3]
    steps = steps_per_program(all_steps, heads)
    programs = triton.cdiv(all_steps, steps)
    sums = empty((programs, 3, weight.numel()), weight, torch.float32)
    launch(
        gate_kernels.backward, (programs, heads), BACKWARD,
        **sizes, steps=steps, all_steps=all_steps,
        h=h, a=a, z=z, dy=dy, weight=weight, bias=bias, skip=skip, eps=eps,
        dh=dh, da=da, dz=dz, sums=sums,
    )  # fmt: skip
    return dh, da, dz, sums.sum(0)


def _gate_sizes(h: Tensor) -> dict[str, int]:
    _, rows, columns, _, width = h.shape
    padded = triton.next_power_of_2(width)
    tokens = max(1, GATE_ENTRIES // padded)
    length = rows * columns
    sizes = {'length': length, 'columns': columns, 'width': width}
    return sizes | {'tiles': triton.cdiv(length, tokens), 'TOKENS': tokens, 'PADDED': padded}


def mix_forward(x: Tensor, table: Tensor, bias: Tensor, reverse: bool) -> tuple[Tensor, ...]:
    """Arguments and results of :func:`vil_mm.layers.fused.mix.mix_op`."""
    a, q, k, v = (empty_grid(x) for _ in range(4))
    x, table = readable(x), table.contiguous()
    images, rows, columns, channels = x.shape
    sizes = _mix_sizes(x, table, MIX_TOKENS, reverse)
    tiles, groups = images * sizes['tiles'], channels // CHANNELS
    parts = _gate_parts(tiles, groups)
    gates = empty((parts, images, rows, columns, GATES), x, torch.float32)
    launch(
        mix_kernels.forward, (tiles, parts), FORWARD,
        **sizes, images=images, groups=groups // parts,
        x=x, table=table, bias=bias, a=a, q=q, k=k, v=v, gates=gates,
    )  # fmt: skip
    return a, q, k, v, (gates[0] if parts == 1 else gates.sum(0))


def mix_backward(
    x: Tensor,
    table: Tensor,
    a: Tensor,
    da: Tensor,
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    dgates: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Arguments and results of :func:`vil_mm.layers.fused.mix.mix_backward_op`."""
    dx, dc = empty_grid(x), empty_grid(x)
    x, table, dgates = readable(x), table.contiguous(), readable(dgates)
    a, da, dq, dk, dv = (readable_as(y, dx) for y in (a, da, dq, dk, dv))
    sizes = _mix_sizes(x, table, MIX_TOKENS_BACKWARD, reverse)
    all_steps, groups = x.shape[0] * sizes['tiles'], x.shape[-1] // CHANNELS
    steps = steps_per_program(all_steps, groups)
    programs = triton.cdiv(all_steps, steps)
    dtable = empty((programs, *table.shape), x, torch.float32)
    shared = sizes | {'steps': steps, 'all_steps': all_steps}
    shared |= {'x': x, 'table': table, 'dgates': dgates, 'dc': dc, 'dtable': dtable}
    grid = (programs, groups)
    launch(mix_kernels.backward_activation, grid, BACKWARD, **shared, a=a, da=da, dq=dq, dk=dk)
    launch(mix_kernels.backward_input, grid, BACKWARD, **shared, dv=dv, dx=dx)
    return dx, dtable.sum(0)


def _mix_sizes(x: Tensor, table: Tensor, tokens: int, reverse: bool) -> dict[str, Any]:
    _, rows, columns, channels = x.shape
    length = rows * columns
    return {
        'length': length,
        'rows': rows,
        'columns': columns,
        'channels': channels,
        'tiles': triton.cdiv(length, tokens),
        'sign': -1 if reverse else 1,
        'TAPS': table.shape[0] - AFTER_CONV,
        'TOKENS': tokens,
        'CHANNELS': CHANNELS,
        'PRECISION': 'tf32x3',
    }


def _gate_parts(tiles: int, groups: int) -> int:
    """Programs that share the channels of a tile of tokens: several only if there are few tiles.

    Each leaves its part of the gates, and adding them up costs another pass.
    """
    divisors = [n for n in range(1, groups + 1) if groups % n == 0]
    return next((n for n in divisors if n * tiles >= 512), groups)


def steps_per_program(steps: int, others: int) -> int:
    """How many of ``steps`` tiles a program takes, if ``others`` programs share each tile.

    At least eight: each program writes sums of its own, half as large as the data of a step.
    """
    return max(8, triton.cdiv(steps * others, PROGRAMS))
