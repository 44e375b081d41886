"""Local mixing as one operator: convolution, SiLU, q, k and v, and the gates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vil_mm.layers.conv import causal_conv, token_conv
from vil_mm.layers.fused.table import AFTER_CONV, GATES, weight_table
from vil_mm.layers.headwise import block_diagonal
from vil_mm.mlstm.triton.memory import empty_grid
from vil_mm.mlstm.triton.runtime import unsupported_reason


def local_mix(scan: nn.Module, x: Tensor, reverse: bool) -> tuple[Tensor, ...]:
    """``a = silu(conv(x))``, q and k of a, v of x itself, and the gates of q, k and v.

    Results are laid out in memory as x: for a transposed grid they are transposed too.

    Args:
        scan: A :class:`vil_mm.layers.Scan`, of which only the weights are used.
        x: ``(B, Hg, Wg, E)``, the grid as the scan reads it; float32, bfloat16 or float16, E a
            multiple of 64; any strides, the last one 1.
        reverse: Read the sequence from its end.

    Returns:
        a, q, k, v ``(B, Hg, Wg, E)``, and the gates ``(B, Hg, Wg, 8)``, input gates first, float32.

    Raises:
        ValueError: E is not a multiple of 64, there are not 8 gates, or an image is too large.
    """
    return mix_op(x, *weight_table(scan), reverse)


@torch.library.custom_op('vil_mm::local_mix', mutates_args=())
def mix_op(
    x: Tensor, table: Tensor, bias: Tensor, reverse: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """a, q, k, v ``(B, Hg, Wg, E)`` and the gates ``(B, Hg, Wg, 8)``; bias: ``(8)``."""
    if unsupported_reason(x) is not None:
        return _plain(x, table, bias, reverse)
    from vil_mm.layers.fused.launches import mix_forward

    return mix_forward(x, table, bias, reverse)


@mix_op.register_fake
def _(x: Tensor, table: Tensor, bias: Tensor, reverse: bool):
    a, q, k, v = (empty_grid(x) for _ in range(4))
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
    """Gradients of x (laid out as :func:`empty_grid` does) and of the table."""
    if unsupported_reason(x) is not None:
        return _plain_backward(x, table, (da, dq, dk, dv, dgates), reverse)
    from vil_mm.layers.fused.launches import mix_backward

    return mix_backward(x, table, a, da, dq, dk, dv, dgates, reverse)


@mix_backward_op.register_fake
def _(x, table, a, da, dq, dk, dv, dgates, reverse):
    return empty_grid(x), torch.empty_like(table, memory_format=torch.contiguous_format)


def _setup_context(ctx, inputs, output) -> None:
    x, table, _, ctx.reverse = inputs
    ctx.save_for_backward(x, table, output[0])


def _backward(ctx, da, dq, dk, dv, dgates):
    x, table, a = ctx.saved_tensors
    dx, dtable = mix_backward_op(x, table, a, da, dq, dk, dv, dgates, ctx.reverse)
    return dx, dtable, dgates.sum((0, 1, 2)), None


mix_op.register_autograd(_backward, setup_context=_setup_context)


def _plain(x: Tensor, table: Tensor, bias: Tensor, reverse: bool) -> tuple[Tensor, ...]:
    """Plain PyTorch, for compiled or exported programs that run where the kernels cannot."""
    taps = table.shape[0] - AFTER_CONV
    conv, conv_bias, q, k, v, biases, gates_a, gates_x = table.split(
        [taps, 1, 4, 4, 4, 3, GATES, GATES]
    )
    mix = token_conv if taps == 9 else causal_conv
    shape = (-1, 1, 3, 3) if taps == 9 else (-1, 1, 4)
    conv, conv_bias = conv.t().reshape(shape), conv_bias[0]
    a = mix(rearrange(x, 'b h w e -> b e h w'), conv.to(x.dtype), conv_bias.to(x.dtype), reverse)
    a = F.silu(rearrange(a, 'b e h w -> b h w e'))
    outputs = [a]
    for source, weight, offset in zip((a, a, x), (q, k, v), biases, strict=True):
        weight = weight.t().reshape(-1, 4, 4).to(x.dtype)
        outputs.append(block_diagonal(source, weight, offset.to(x.dtype)))
    gates = F.linear(a.float(), gates_a, bias) + F.linear(x.float(), gates_x)
    return *(empty_grid(x).copy_(y) for y in outputs), gates


def _plain_backward(
    x: Tensor, table: Tensor, gradients: tuple[Tensor, ...], reverse: bool
) -> tuple[Tensor, Tensor]:
    bias = table.new_zeros(GATES)
    _, pull = torch.func.vjp(lambda x, table: _plain(x, table, bias, reverse), x, table)
    dx, dtable = pull(gradients)
    return empty_grid(x).copy_(dx), dtable
