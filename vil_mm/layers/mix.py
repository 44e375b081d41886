"""The first part of a scan: neighbours are mixed, and queries, keys, values and gates are made."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vil_mm.layers.conv import causal_conv, token_conv
from vil_mm.layers.headwise import block_diagonal
from vil_mm.mlstm.numerics import full_precision


class Mixed(NamedTuple):
    """What the mLSTM reads, and ``a``, which skips it. NH heads of E / NH channels."""

    a: Tensor  # (B, Hg, Wg, E), like q, k and v in the dtype of x
    q: Tensor
    k: Tensor
    v: Tensor
    gates: Tensor  # (B, Hg, Wg, 2 NH), input then forget gates; float32 at least


def local_mix(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    q_weight: Tensor,
    q_bias: Tensor | None,
    k_weight: Tensor,
    k_bias: Tensor | None,
    v_weight: Tensor,
    v_bias: Tensor | None,
    gate_weight: Tensor,
    gate_bias: Tensor,
    *,
    reverse: bool,
    fused: bool,
) -> Mixed:
    """``a = silu(conv(x))``, q and k of a, v of x itself, and gates of (q, k, v).

    Args:
        x: ``(B, Hg, Wg, E)``, the grid as the scan reads it; any strides, the last one 1.
        conv_weight: ``(E, 1, 3, 3)``, or ``(E, 1, 4)`` over the row-major sequence.
        conv_bias: ``(E)``.
        q_weight, k_weight, v_weight: ``(E / 4, 4, 4)`` = (block, out, in).
        q_bias, k_bias, v_bias: ``(E)`` or None.
        gate_weight: ``(2 NH, 3E)`` over the concatenation of q, k (unscaled) and v.
        gate_bias: ``(2 NH)``.
        reverse: Read the sequence from its end.
        fused: Run one Triton kernel; :func:`vil_mm.mlstm.triton.runtime.why_not` says where.
    """
    parameters = (conv_weight, conv_bias, q_weight, q_bias, k_weight, k_bias, v_weight, v_bias)
    parameters = (*parameters, gate_weight, gate_bias)
    if fused:
        from vil_mm.layers.triton.mix import local_mix_triton

        return local_mix_triton(x, *parameters, reverse=reverse)
    return _local_mix(x, *parameters, reverse=reverse)


def _local_mix(
    x, conv_weight, conv_bias, q_weight, q_bias, k_weight, k_bias, v_weight, v_bias, *gate, reverse
) -> Mixed:
    x = x.contiguous()  # once here, or oneDNN's convolution takes twice as long
    conv = token_conv if conv_weight.dim() == 4 else causal_conv
    a = F.silu(conv(x, conv_weight, conv_bias, reverse), inplace=True)
    q = block_diagonal(a, q_weight, q_bias)
    k = block_diagonal(a, k_weight, k_bias)
    v = block_diagonal(x, v_weight, v_bias)
    return Mixed(a, q, k, v, _gates(q, k, v, *gate))


def fold_gates(
    weights: tuple[Tensor, Tensor, Tensor],
    biases: tuple[Tensor | None, Tensor | None, Tensor | None],
    gate_weight: Tensor,
    gate_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gates as a linear map of what q, k and v are made of, for the fused kernels.

    They are linear in q, k and v, and these in a and x: the products of the matrices are small and
    made once a call, so that tokens pay for two thin products instead of three. On a CPU making
    them takes longer than the third product, up to a thousand tokens.

    Returns:
        The weights ``(2 NH, E)`` of a and of x, and the bias ``(2 NH)``; at least float32.
    """
    dtype = torch.promote_types(gate_weight.dtype, torch.float32)
    with full_precision(gate_weight.device):
        gate_weight, bias = gate_weight.to(dtype), gate_bias.to(dtype)
        transposed = torch.cat(weights).mT.to(dtype)  # in the order of gate_weight's columns
        of_q, of_k, of_v = block_diagonal(gate_weight, transposed, None).chunk(3, dim=1)
        zeros = gate_bias.new_zeros(gate_weight.shape[1] // 3)
        offsets = torch.cat([zeros if offset is None else offset for offset in biases]).to(dtype)
        return of_q + of_k, of_v, torch.addmv(bias, gate_weight, offsets)


def _gates(q: Tensor, k: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """They leave autocast because the input gate is exponentiated."""
    with full_precision(q.device):
        dtype = torch.promote_types(torch.promote_types(q.dtype, weight.dtype), torch.float32)
        q, k, v, weight, bias = (x.to(dtype) for x in (q, k, v, weight, bias))
        of_q, of_k, of_v = weight.chunk(3, dim=1)  # three products: a concatenation is a copy
        return F.linear(q, of_q, bias).add_(F.linear(k, of_k)).add_(F.linear(v, of_v))
