"""The last part of a scan: head norm, skip and output gate."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vil_mm.layers.norm import head_norm


def norm_skip_gate(
    h: Tensor,
    a: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    *,
    eps: float,
    fused: bool,
) -> Tensor:
    """``(head_norm(h) + skip * a) * silu(z)``.

    Args:
        h: ``(B, Hg, Wg, NH, DH)``, what the mLSTM read.
        a, z: ``(B, Hg, Wg, E)`` with E = NH * DH; any strides, the last one 1.
        weight, bias: ``(E)``, of the head norm: the offset of its scale from one; bias or None.
        skip: ``(E)``.
        eps: Added to the variance of a head.
        fused: Run one Triton kernel; :func:`vil_mm.mlstm.triton.runtime.why_not` says where.

    Returns:
        ``(B, Hg, Wg, E)`` in the dtype of ``z``.
    """
    if fused:
        from vil_mm.layers.triton.gate import norm_skip_gate_triton

        return norm_skip_gate_triton(h, a, z, weight, bias, skip, eps=eps)
    y = head_norm(h, weight, bias, eps).addcmul_(skip, a)  # in place: see mlstm/parallel.py
    return y.mul_(F.silu(z)).to(z.dtype)
