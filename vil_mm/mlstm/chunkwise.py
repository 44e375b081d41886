"""The mLSTM in its chunkwise form: linear in S, plain PyTorch, any device.

The sequence is cut into C chunks of L tokens. Inside a chunk the quadratic form runs; between
chunks a state travels. For one chunk, t reads and s is read (xLSTM, appendix; Vision-LSTM):

    a_t   = sum of log sigmoid(f) from the chunk's first token to t     g = a at its last token
    m_t   = max(a_t + m_in, max_{s<=t} a_t - a_s + i_s)                 m_out = m there
    alpha = exp(a_t + m_in - m_t)            what token t still sees of the incoming state
    P_ts  = exp(a_t - a_s + i_s - m_t)       what it sees of token s in its own chunk
    omega = exp(g - a_s + i_s - m_out)       what token s leaves in the outgoing state
    beta  = exp(g + m_in - m_out)            what remains there of the incoming state

    u_t       = alpha_t state_in^T q_t + sum_{s<=t} P_ts (q_t . k_s) v_s
    state_out = beta state_in + sum_s omega_s k_s v_s^T

A column of ones beside v makes n the last column of the state and b the last entry of u. The factor
1/sqrt(DH) of the keys is carried by P and omega, so no scaled copy of k is made. The direction
touches only vectors of gates, the mask and the order of the chunks: q, k and v are never flipped.

The gradient is written out: it saves the inputs and h alone and recomputes the rest chunk by chunk,
where autograd would keep every intermediate alive.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vil_mm.mlstm.scan import cummax, cumsum, normalizer

CPU_SPLIT_LENGTH = 1024  # tokens


def mlstm_chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    *,
    chunk_size: int,
    reverse: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    """Arguments and result as in ``mlstm_parallel``, plus the chunk length L in tokens.

    A sequence that L does not divide is padded at the end read last, where no token sees it.
    Differentiable any number of times, under ``vmap`` too; for forward-mode derivatives
    (``torch.func.jvp``) use the parallel or the recurrent form.
    """
    length = q.shape[-2]
    chunk_size = min(chunk_size, length)

    def run(*inputs: Tensor) -> Tensor:
        return _Chunkwise.apply(*inputs, chunk_size, reverse, eps)

    if q.device.type == 'cpu' and length >= CPU_SPLIT_LENGTH:
        return _each_head(run, q, k, v, igate, fgate)
    return run(q, k, v, igate, fgate)


def _each_head(run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Run image by image and head by head: the tensors of one long sequence fill a CPU's cache."""
    images = zip(*(x.split(1, dim=0) for x in inputs), strict=True)
    heads = (zip(*(x.split(1, dim=1) for x in image), strict=True) for image in images)
    return torch.cat([torch.cat([run(*head) for head in image], dim=1) for image in heads])


class _Chunkwise(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(q, k, v, igate, fgate, chunk_size, reverse, eps):
        return _forward(q, k, v, igate, fgate, chunk_size, reverse, eps)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.chunk_size, ctx.reverse, ctx.eps = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    def backward(ctx, grad_h):
        grads = _backward(grad_h, *ctx.saved_tensors, ctx.chunk_size, ctx.reverse, ctx.eps)
        return *grads, None, None, None


def _forward(q, k, v, igate, fgate, chunk_size: int, reverse: bool, eps: float) -> Tensor:
    length = q.shape[-2]
    q, k, v = (_cut(x, -2, chunk_size, reverse) for x in (q, k, F.pad(v, (0, 1), value=1.0)))

    # 1. gates: every stabiliser and decay, before any matrix product
    gates = _gates(igate, fgate, k.shape[-1], chunk_size, reverse)

    # 2. what each chunk adds to the state, and 3. the state it receives
    state = _pass_along(gates.beta, _outer(k, gates.omega, v), reverse)

    # 4. outputs: from the incoming state and from the chunk itself
    u = gates.alpha.unsqueeze(-1) * (q @ state) + (q @ k.transpose(-2, -1) * gates.P) @ v
    h = u[..., :-1] / normalizer(u[..., -1], gates.m, eps).unsqueeze(-1)
    return _trim(h.flatten(2, 3), 2, length, reverse)


def _backward(
    dh, q, k, v, igate, fgate, h, chunk_size: int, reverse: bool, eps: float
) -> tuple[Tensor, ...]:
    """Gradients of the five inputs; dX stands for the derivative of the loss by X."""
    length = q.shape[-2]
    dh_h = _cut((dh * h).sum(-1), -1, chunk_size, reverse)
    q, k, v, dh = (
        _cut(x, -2, chunk_size, reverse) for x in (q, k, F.pad(v, (0, 1), value=1.0), dh)
    )

    # 1. recompute gates, states, the weights W inside the chunk and the normaliser N
    gates = _gates(igate, fgate, k.shape[-1], chunk_size, reverse)
    state = _pass_along(gates.beta, _outer(k, gates.omega, v), reverse)
    W = q @ k.transpose(-2, -1) * gates.P
    b = gates.alpha * (q @ state[..., -1:]).squeeze(-1) + W.sum(-1)
    N = normalizer(b, gates.m, eps)

    # 2. h = u / N with N = |b| + eps wherever |b| is above the floor exp(-m)
    dN = -dh_h / N
    db = torch.where(b.abs() + eps >= N, b.sign() * dN, 0.0)
    du = torch.cat([dh / N.unsqueeze(-1), db.unsqueeze(-1)], dim=-1)

    # 3. what the later chunks ask of each chunk's outgoing state
    dstate = _pass_along(gates.beta, _outer(q, gates.alpha, du), not reverse)

    # 4. inside the chunk, and through the state
    dS = du @ v.transpose(-2, -1) * gates.P
    alpha, omega = gates.alpha.unsqueeze(-1), gates.omega.unsqueeze(-1)
    dq = dS @ k + alpha * (du @ state.transpose(-2, -1))
    dk = dS.transpose(-2, -1) @ q + omega * (v @ dstate.transpose(-2, -1))
    dv = (W.transpose(-2, -1) @ du + omega * (k @ dstate))[..., :-1]

    # 5. gates: q.dq and k.dk are the row and column sums of the derivative by the log-weights;
    #    m matters through eps alone, and its derivative belongs to the token that set the maximum
    dm = (dN * eps).flatten(-2)
    routed = torch.zeros_like(dm).scatter_add(-1, gates.argmax, dm)
    columns = (k * dk).sum(-1).flatten(-2)
    dF = (q * dq).sum(-1).flatten(-2) - columns + dm - routed
    dq, dk, dv = (_trim(x.flatten(2, 3), 2, length, reverse) for x in (dq, dk, dv))
    di, dlog_f = (_trim(x, 2, length, reverse) for x in (columns + routed, cumsum(dF, not reverse)))
    return dq, dk, dv, di, dlog_f * torch.sigmoid(-fgate)


class _Gates(NamedTuple):
    """Everything the gates decide, for chunks ``(B, NH, C, L)``; P and omega hold 1/sqrt(DH)."""

    m: Tensor  # (B, NH, C, L)
    argmax: Tensor  # (B, NH, C*L) int64, the token that set m
    alpha: Tensor  # (B, NH, C, L)
    P: Tensor  # (B, NH, C, L, L)
    omega: Tensor  # (B, NH, C, L)
    beta: Tensor  # (B, NH, C)


def _gates(igate: Tensor, fgate: Tensor, width: int, chunk_size: int, reverse: bool) -> _Gates:
    log_f = _cut(F.logsigmoid(fgate), -1, chunk_size, reverse)
    igate = _cut(igate, -1, chunk_size, reverse, value=-math.inf)
    m, argmax = _stabiliser(igate, log_f, reverse)
    a = cumsum(log_f, reverse)
    last = 0 if reverse else -1
    g, m_out = a[..., last], m[..., last]
    m_in = _previous(m_out, reverse)
    written = igate - a - 0.5 * math.log(width)
    return _Gates(
        m=m,
        argmax=argmax,
        alpha=(a + m_in.unsqueeze(-1) - m).exp(),
        P=_causal_exp(written.unsqueeze(-2) + (a - m).unsqueeze(-1), reverse),
        omega=(written + (g - m_out).unsqueeze(-1)).exp(),
        beta=(g + m_in - m_out).exp(),
    )


def _causal_exp(x: Tensor, reverse: bool) -> Tensor:
    """exp of ``x`` where row t may read column s, else 0.

    What may be read is <= 0; what may not could overflow and is bounded first. The lower bound
    keeps exp out of the subnormal numbers, where CPUs take ten times as long.
    """
    lowest = math.log(torch.finfo(x.dtype).tiny) + 10
    x = x.clamp(lowest, 0).exp()
    return x.triu() if reverse else x.tril()


def _stabiliser(igate: Tensor, log_f: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """m = F_t + max_{s<=t} (i_s - F_s) over the whole sequence, and where the maximum is."""
    F_t = cumsum(log_f.flatten(-2), reverse)
    running_max, argmax = cummax(igate.flatten(-2) - F_t, reverse)
    return (F_t + running_max).unflatten(-1, igate.shape[-2:]), argmax


def _previous(m_out: Tensor, reverse: bool) -> Tensor:
    """The log-scale each chunk receives, ``(B, NH, C)``; -inf (nothing stored) for the first."""
    if reverse:
        return F.pad(m_out[..., 1:], (0, 1), value=-math.inf)
    return F.pad(m_out[..., :-1], (1, 0), value=-math.inf)


def _outer(x: Tensor, weight: Tensor, y: Tensor) -> Tensor:
    """``sum_t weight_t x_t y_t^T`` of each chunk: ``(B, NH, C, DH, DH+1)``."""
    return (x * weight.unsqueeze(-1)).transpose(-2, -1) @ y


def _pass_along(beta: Tensor, added: Tensor, reverse: bool) -> Tensor:
    """Incoming state of each chunk: state <- beta * state + added, from chunk to chunk.

    Args:
        beta: ``(B, NH, C)``.
        added: ``(B, NH, C, DH, DH+1)``.
    """
    steps = list(zip(beta[..., None, None].unbind(2), added.unbind(2), strict=True))
    received = [torch.zeros_like(steps[0][1])]
    for beta_c, added_c in steps[:0:-1] if reverse else steps[:-1]:
        received.append(torch.addcmul(added_c, beta_c, received[-1]))
    return torch.stack(received[::-1] if reverse else received, dim=2)


def _cut(x: Tensor, dim: int, chunk_size: int, reverse: bool, value: float = 0.0) -> Tensor:
    """Split axis ``dim`` (-1 or -2) into (C, L), padded with ``value`` on the side read last."""
    padding = -x.shape[dim] % chunk_size
    if padding:
        sides = (padding, 0) if reverse else (0, padding)
        x = F.pad(x, sides if dim == -1 else (0, 0, *sides), value=value)
    return x.contiguous().unflatten(dim, (-1, chunk_size))


def _trim(x: Tensor, dim: int, length: int, reverse: bool) -> Tensor:
    """Take the padding of :func:`_cut` away again."""
    return x.narrow(dim, x.shape[dim] - length if reverse else 0, length)
