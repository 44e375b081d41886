"""Fused local mixing: one kernel forward, two backward.

The weights reach the kernels as one float32 table of E columns:

    rows    taps    1          4  4  4  3                8           8
    hold    conv    its bias   q  k  v  biases of q,k,v  gates of a  gates of x

where the rows of q, k, v are the four weights (in) of every output channel. Making the table and
going back through it is left to autograd.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vil_mm.layers.conv import causal_conv, token_conv
from vil_mm.layers.fused.memory import empty, empty_map, readable, readable_as, share
from vil_mm.layers.headwise import block_diagonal
from vil_mm.mlstm.numerics import full_precision
from vil_mm.mlstm.triton.runtime import HAS_TRITON, Config, launch, unsupported_reason

if HAS_TRITON:
    from vil_mm.layers.fused import mix_kernels

GATES = 8  # input and forget gates of four heads
AFTER_CONV = 32  # rows of the table after the taps
CHANNELS = 64  # of a tile: 128 bytes of a token in half precision
# One stage: neighbours come from the cache, a pipeline would copy them to shared memory one by one.
# Forward a thread has 8 channels of 2 tokens. Backward it has 4 of one, for it keeps sums for all
# rows of the table that the kernel is about; with more it spills.
FORWARD = {'TOKENS': 32, 'CHANNELS': CHANNELS}
BACKWARD = {'TOKENS': 16, 'CHANNELS': CHANNELS}
FORWARD_CONFIGS = (Config(num_warps=4, num_stages=1),)
BACKWARD_CONFIGS = (Config(num_warps=8, num_stages=1),)


def local_mix(scan: nn.Module, x: Tensor, reverse: bool) -> tuple[Tensor, ...]:
    """``a = silu(conv(x))``, q and k of a, v of x itself, and the gates of q, k and v.

    Results lie in memory as x does: those of a transposed grid are transposed too.

    Args:
        scan: Has the modules of a :class:`vil_mm.layers.Scan`; only their weights are read.
        x: ``(B, Hg, Wg, E)``, the grid as the scan reads it; float32, bfloat16 or float16, E a
            multiple of 64, the last stride 1 and the others any.
        reverse: Read the sequence from its end.

    Returns:
        a, q, k, v ``(B, Hg, Wg, E)``, and the gates ``(B, Hg, Wg, 8)``, input gates first, float32.

    Raises:
        ValueError: E or the number of gates is another, or an image is too large.
    """
    return mix_op(x, *weight_table(scan), reverse)


def weight_table(scan: nn.Module) -> tuple[Tensor, Tensor]:
    """The table of all weights (see above) and the bias ``(8)`` of the gates."""
    channels, gates = scan.conv.bias.numel(), scan.igate.bias.numel() + scan.fgate.bias.numel()
    if channels % CHANNELS or gates != GATES:
        raise ValueError(
            f'the fused kernels take {GATES} gates and a multiple of {CHANNELS} channels, '
            f'not {gates} and {channels}'
        )
    of_a, of_x, bias = fold_gates(scan)
    projections = (scan.q_proj, scan.k_proj, scan.v_proj)
    rows = [scan.conv.weight.reshape(channels, -1).t(), scan.conv.bias[None]]
    rows += [rearrange(x.weight, 'block o i -> i (block o)') for x in projections]
    rows += [_bias(x)[None] for x in projections]
    return torch.cat([*rows, of_a, of_x]), bias


def fold_gates(scan: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """The gates as a linear map of what q, k and v are made of.

    They are linear in q, k and v, and these in a and x: the products of the matrices are small and
    made once a call, so that tokens pay for two thin products instead of three. On a CPU making
    them takes longer than the third product, up to a thousand tokens.

    Returns:
        The weights ``(2 NH, E)`` of a and of x, and the bias ``(2 NH)``; at least float32.
    """
    gates, projections = (scan.igate, scan.fgate), (scan.q_proj, scan.k_proj, scan.v_proj)
    weight = torch.cat([gate.weight for gate in gates])
    bias = torch.cat([gate.bias for gate in gates])
    dtype = torch.promote_types(weight.dtype, torch.float32)
    with full_precision(weight.device):
        weight, bias = weight.to(dtype), bias.to(dtype)
        transposed = torch.cat([x.weight for x in projections]).mT.to(dtype)  # as weight's columns
        of_q, of_k, of_v = block_diagonal(weight, transposed, None).chunk(3, dim=1)
        offsets = torch.cat([_bias(x) for x in projections]).to(dtype)
        return of_q + of_k, of_v, torch.addmv(bias, weight, offsets)


def _bias(linear: nn.Module) -> Tensor:
    """``(E)``, zeros if it has none."""
    if linear.bias is None:
        return linear.weight.new_zeros(linear.weight[..., 0].numel())
    return linear.bias


@torch.library.custom_op('vil_mm::local_mix', mutates_args=())
def mix_op(
    x: Tensor, table: Tensor, bias: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """a, q, k, v ``(B, Hg, Wg, E)`` and the gates ``(B, Hg, Wg, 8)``; bias: ``(8)``."""
    if unsupported_reason(x) is not None:
        return _plain(x, table, bias, reverse)
    return forward(x, table, bias, reverse)


@mix_op.register_fake
def _(x: Tensor, table: Tensor, bias: Tensor, reverse: bool):
    a, q, k, v = (empty_map(x) for _ in range(4))
    return a, q, k, v, x.new_empty((*x.shape[:3], GATES), dtype=torch.float32)


@torch.library.custom_op('vil_mm::local_mix_backward', mutates_args=())
def mix_backward_op(
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
    """Gradients of x, in memory as :func:`empty_map` of x, and of the table."""
    if unsupported_reason(x) is not None:
        return _plain_backward(x, table, (da, dq, dk, dv, dgates), reverse)
    return backward(x, table, a, da, dq, dk, dv, dgates, reverse)


@mix_backward_op.register_fake
def _(x, table, a, da, dq, dk, dv, dgates, reverse):
    return empty_map(x), torch.empty_like(table, memory_format=torch.contiguous_format)


def _setup_context(ctx, inputs, output) -> None:
    x, table, _, ctx.reverse = inputs
    ctx.save_for_backward(x, table, output[0])


def _backward(ctx, da, dq, dk, dv, dgates):
    x, table, a = ctx.saved_tensors
    dx, dtable = mix_backward_op(x, table, a, da, dq, dk, dv, dgates, ctx.reverse)
    return dx, dtable, dgates.sum((0, 1, 2)), None


mix_op.register_autograd(_backward, setup_context=_setup_context)


def forward(x: Tensor, table: Tensor, bias: Tensor, reverse: bool) -> tuple[Tensor, ...]:
    """Launch the forward kernel; arguments and results of :func:`mix_op`."""
    a, q, k, v = (empty_map(x) for _ in range(4))
    x, table = readable(x), table.contiguous()
    images, rows, columns, channels = x.shape
    tiles = -(-rows * columns // FORWARD['TOKENS'])
    parts = _parts(images * tiles, channels // CHANNELS)
    gates = empty((parts, images, rows, columns, GATES), x, torch.float32)
    launch(
        mix_kernels.forward,
        (images * tiles, parts),
        FORWARD_CONFIGS,
        **{'x': x, 'table': table, 'bias': bias, 'a': a, 'q': q, 'k': k, 'v': v, 'gates': gates},
        **_sizes(x, table, tiles, reverse),
        **FORWARD,
        images=images,
        groups=channels // CHANNELS // parts,
        **_strides('x', x),
        **_strides('y', a),
    )
    return a, q, k, v, (gates[0] if parts == 1 else gates.sum(0))


def backward(
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
    """Launch the backward kernels; arguments and results of :func:`mix_backward_op`."""
    dx, dc = empty_map(x), empty_map(x)
    x, table, dgates = readable(x), table.contiguous(), readable(dgates)
    images, rows, columns, channels = x.shape
    a, da, dq, dk, dv = (readable_as(y, dx) for y in (a, da, dq, dk, dv))
    tiles, groups = -(-rows * columns // BACKWARD['TOKENS']), channels // CHANNELS
    steps = share(images * tiles, groups)
    programs = -(-images * tiles // steps)
    dtable = empty((programs, *table.shape), x, torch.float32)
    common = {'x': x, 'table': table, 'dgates': dgates, 'dc': dc, 'dtable': dtable}
    common |= _sizes(x, table, tiles, reverse) | BACKWARD
    common |= {'steps': steps, 'all_steps': images * tiles}
    common |= _strides('x', x) | _strides('y', dx) | _strides('g', dgates)
    grid = (programs, groups)
    launch(
        mix_kernels.backward_activation, grid, BACKWARD_CONFIGS, a=a, da=da, dq=dq, dk=dk, **common
    )
    launch(mix_kernels.backward_input, grid, BACKWARD_CONFIGS, dv=dv, dx=dx, **common)
    return dx, dtable.sum(0)


def _parts(programs: int, groups: int) -> int:
    """Programs that share the channels of a tile of tokens: more than one only if tokens are few.

    Each then leaves a part of the gates, which costs a sum.
    """
    divisors = [n for n in range(1, groups + 1) if groups % n == 0]
    return next((n for n in divisors if n * programs >= 512), groups)


def _sizes(x: Tensor, table: Tensor, tiles: int, reverse: bool) -> dict[str, int | str]:
    _, rows, columns, channels = x.shape
    sizes = {'length': rows * columns, 'rows': rows, 'columns': columns, 'channels': channels}
    sizes |= {'tiles': tiles, 'sign': -1 if reverse else 1, 'TAPS': table.shape[0] - AFTER_CONV}
    return sizes | {'PRECISION': 'tf32x3'}


def _strides(name: str, x: Tensor) -> dict[str, int]:
    return dict(zip((f'{name}_batch', f'{name}_row', f'{name}_column'), x.stride(), strict=False))


def _plain(x: Tensor, table: Tensor, bias: Tensor, reverse: bool) -> tuple[Tensor, ...]:
    """The same by PyTorch, for programs that were compiled or exported with the op in them."""
    taps = table.shape[0] - AFTER_CONV
    conv, conv_bias, q, k, v, biases, of_a, of_x = table.split([taps, 1, 4, 4, 4, 3, GATES, GATES])
    mix = token_conv if taps == 9 else causal_conv
    shape = (-1, 1, 3, 3) if taps == 9 else (-1, 1, 4)
    conv, conv_bias = conv.t().reshape(shape), conv_bias[0]
    a = mix(rearrange(x, 'b h w e -> b e h w'), conv.to(x.dtype), conv_bias.to(x.dtype), reverse)
    a = F.silu(rearrange(a, 'b e h w -> b h w e'))
    outputs = [a]
    for source, weight, offset in zip((a, a, x), (q, k, v), biases, strict=True):
        weight = weight.t().reshape(-1, 4, 4).to(x.dtype)
        outputs.append(block_diagonal(source, weight, offset.to(x.dtype)))
    gates = F.linear(a.float(), of_a, bias) + F.linear(x.float(), of_x)
    return *(empty_map(x).copy_(y) for y in outputs), gates


def _plain_backward(
    x: Tensor, table: Tensor, gradients: tuple[Tensor, ...], reverse: bool
) -> tuple[Tensor, Tensor]:
    bias = table.new_zeros(GATES)
    _, pull = torch.func.vjp(lambda x, table: _plain(x, table, bias, reverse), x, table)
    dx, dtable = pull(gradients)
    return empty_map(x).copy_(dx), dtable
