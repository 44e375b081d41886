"""Backend 'recurrent': one token at a time, in memory constant in S; also a second reference.

State per head: C (DH x DH, key index x value index), n (DH) and the log-scale m they are stored at.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vil_mm.mlstm.numerics import normalizer


class MLSTMState(NamedTuple):
    """Memory after some tokens; the true memory is ``exp(m)`` times what is stored."""

    C: Tensor  # (B, NH, DH, DH)
    n: Tensor  # (B, NH, DH)
    m: Tensor  # (B, NH)


def empty_state(k: Tensor) -> MLSTMState:
    """The state before the first token, for keys ``(B, NH, S, DH)``. Nothing stored: m = -inf."""
    batch, heads, _, width = k.shape
    return MLSTMState(
        k.new_zeros(batch, heads, width, width),
        k.new_zeros(batch, heads, width),
        k.new_full((batch, heads), -math.inf),
    )


def mlstm_step(
    state: MLSTMState,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    eps: float = 1e-6,
) -> tuple[Tensor, MLSTMState]:
    """Read one token: q, k, v ``(B, NH, DH)``, gates ``(B, NH)``; returns h ``(B, NH, DH)``."""
    log_f = F.logsigmoid(fgate)
    m = torch.maximum(log_f + state.m, igate)
    keep = (log_f + state.m - m).exp()
    key = (igate - m).exp().unsqueeze(-1) * k * k.shape[-1] ** -0.5
    C = keep[..., None, None] * state.C + key.unsqueeze(-1) * v.unsqueeze(-2)
    n = keep.unsqueeze(-1) * state.n + key
    u = (q.unsqueeze(-2) @ C).squeeze(-2)
    norm = normalizer((q * n).sum(-1), m, eps)
    return u / norm.unsqueeze(-1), MLSTMState(C, n, m)


def mlstm_recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    *,
    reverse: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """Run :func:`mlstm_step` over the sequence; arguments as in ``mlstm_parallel``."""
    length = q.shape[-2]
    state, h = empty_state(k), [q.new_empty(0)] * length
    for t in reversed(range(length)) if reverse else range(length):
        token = (x[:, :, t] for x in (q, k, v, igate, fgate))
        h[t], state = mlstm_step(state, *token, eps=eps)
    return torch.stack(h, dim=-2)
