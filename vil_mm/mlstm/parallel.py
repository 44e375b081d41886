"""Backend 'parallel': the definition of the mLSTM, and the reference for every other backend.

Notation of the Vision-LSTM and xLSTM papers, for one head and query row t, key column s:

    F_t  = sum_{r<=t} log sigmoid(f_r)
    L_ts = F_t - F_s + i_s                              for s <= t, else -inf
    m_t  = max_s L_ts
    W_ts = (q_t . k_s / sqrt(DH)) exp(L_ts - m_t)
    h_t  = sum_s W_ts v_s / (max(|sum_s W_ts|, exp(-m_t)) + eps)

With x_s = i_s - F_s and M_t = max_{s<=t} x_s the decay is exp(x_s - M_t) and m_t = F_t + M_t: the
running maximum is known before any matrix product, and one S x S tensor holds the whole decay.

S x S tensors are updated in place where autograd allows: on a CPU their memory dominates the time.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vil_mm.mlstm.numerics import bounded_exp_, cummax, cumsum, normalizer


def mlstm_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    *,
    reverse: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """Read all pairs of tokens at once: O(S^2) time and memory.

    Args:
        q, k, v: ``(B, NH, S, DH)``, one floating dtype, k unscaled.
        igate, fgate: ``(B, NH, S)`` pre-activations, same dtype.
        reverse: Read the sequence from its end.
        eps: Added to the normaliser.

    Returns:
        h: ``(B, NH, S, DH)``.
    """
    F_t = cumsum(F.logsigmoid(fgate), reverse)
    x = igate - F_t
    M, _ = cummax(x, reverse)
    scale = 0.5 * math.log(q.shape[-1])  # 1 / sqrt(DH), carried by the decay
    decay = bounded_exp_(x.unsqueeze(-2) - (M + scale).unsqueeze(-1))
    W = q @ k.transpose(-2, -1)
    # In place breaks torch.func with gradients, and traces, which are checked without gradients.
    out_of_place = torch.is_grad_enabled() or torch.jit.is_tracing()
    W = W * decay if out_of_place else W.mul_(decay)
    W = W.triu_() if reverse else W.tril_()
    N = normalizer(W.sum(-1), F_t + M, eps)
    return (W @ v).div_(N.unsqueeze(-1))
