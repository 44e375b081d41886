"""The weights of the local mixing as one float32 table of E columns, which the kernels read.

    rows    taps    1          4  4  4  3                8           8
    hold    conv    its bias   q  k  v  biases of q,k,v  gates of a  gates of x

The rows of q, k and v are the four weights (in) of each output channel. Autograd carries gradients
from the table back to the weights.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from vil_mm.layers.headwise import block_diagonal
from vil_mm.mlstm.numerics import full_precision

GATES = 8  # input and forget gates of four heads
AFTER_CONV = 32  # rows of the table after the taps
CHANNELS = 64  # per tile of the kernels: 128 bytes of a token in half precision


def weight_table(scan: nn.Module) -> tuple[Tensor, Tensor]:
    """The table of all weights and the bias ``(8)`` of the gates."""
    channels, gates = scan.conv.bias.numel(), scan.igate.bias.numel() + scan.fgate.bias.numel()
    if channels % CHANNELS or gates != GATES:
        raise ValueError(
            f'the fused kernels take {GATES} gates and a multiple of {CHANNELS} channels, '
            f'not {gates} and {channels}'
        )
    gates_a, gates_x, bias = fold_gates(scan)
    projections = (scan.q_proj, scan.k_proj, scan.v_proj)
    rows = [scan.conv.weight.reshape(channels, -1).t(), scan.conv.bias[None]]
    rows += [rearrange(x.weight, 'block o i -> i (block o)') for x in projections]
    rows += [_bias(x)[None] for x in projections]
    return torch.cat([*rows, gates_a, gates_x]), bias


def fold_gates(scan: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """The gates as a linear map of a and x.

    They are linear in q, k and v, which are linear in a and x. Multiplying the small matrices once
    per call replaces three thin products per token by two. On a CPU that takes longer than it saves
    up to a thousand tokens.

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
        from_q, from_k, from_v = block_diagonal(weight, transposed, None).chunk(3, dim=1)
        offsets = torch.cat([_bias(x) for x in projections]).to(dtype)
        return from_q + from_k, from_v, torch.addmv(bias, weight, offsets)


def _bias(linear: nn.Module) -> Tensor:
    """``(E)``, zeros if it has none."""
    if linear.bias is None:
        return linear.weight.new_zeros(linear.weight[..., 0].numel())
    return linear.bias
