"""Backend 'chunkwise': linear in S, plain PyTorch, any device.

The sequence is cut into C chunks of L tokens. Tokens of a chunk read each other by the
quadratic form; a state carries everything before. In one chunk t reads s (xLSTM; Vision-LSTM):

    a_t   = sum of log sigmoid(f) from the chunk's first token to t     g = a at its last token
    m_t   = max(a_t + m_in, max_{s<=t} a_t - a_s + i_s)                 m_out = m there
    alpha = exp(a_t + m_in - m_t)            weight of the incoming state for token t
    P_ts  = exp(a_t - a_s + i_s - m_t)       weight of token s of its own chunk
    omega = exp(g - a_s + i_s - m_out)       weight of token s in the outgoing state
    beta  = exp(g + m_in - m_out)            weight of the incoming state in it

    u_t       = alpha_t state_in^T q_t + sum_{s<=t} P_ts (q_t . k_s) v_s
    state_out = beta state_in + sum_s omega_s k_s v_s^T

The last line is a recurrence over chunks; it is solved by one product with the C x C matrix of the
betas' products, which is small because L grows with the sequence (see cost.py).

The normaliser's state n and its value b follow the same lines with v_s = 1. The factor 1/sqrt(DH)
of the keys is carried by P and omega, so no scaled copy of k is made. The direction touches only
vectors of gates, the mask and the order of the chunks: q, k and v are never flipped.

The gradient is written out: it saves only the inputs and h and recomputes the rest; autograd would
keep every intermediate tensor. Leading axes (B, NH) are written "..." below: they are free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vil_mm.mlstm.numerics import (
    bounded_exp_,
    cummax,
    cumsum,
    full_precision,
    normalizer,
    normalizer_derivative,
)

CPU_SPLIT_LENGTH = 1024  # tokens from which on a CPU computes head by head


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
    (``torch.func.jvp``) use backend 'parallel' or 'recurrent'.
    """
    chunk_size = min(chunk_size, q.shape[-2])
    # a saved trace cannot contain a Python function; tracing needs no gradient
    function = _Chunkwise.forward if torch.jit.is_tracing() else _Chunkwise.apply
    return function(q, k, v, igate, fgate, chunk_size, reverse, eps)


def mlstm_chunkwise_gradients(
    dh: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    h: Tensor,
    *,
    chunk_size: int,
    reverse: bool = False,
    eps: float = 1e-6,
) -> tuple[Tensor, ...]:
    """Gradients of the five inputs, given that of the output ``h``; shapes as there."""
    chunk_size = min(chunk_size, q.shape[-2])
    gates, argmax = _gates(igate, fgate, q.shape[-1], chunk_size, reverse)
    gradients = partial(_gradients, reverse=reverse, eps=eps)
    dq, dk, dv, columns, rows, dm = _each_head(gradients, dh, h, q, k, v, *gates)

    # m belongs to the token that set the maximum; a decay to all pairs of tokens around it
    routed = torch.zeros_like(dm).scatter_add(-1, argmax, dm)
    di, dF = columns + routed, rows - columns + dm - routed
    dlog_f = cumsum(dF, not reverse)
    di, dlog_f = (_trim(x, -1, h.shape[-2], reverse) for x in (di, dlog_f))
    return dq, dk, dv, di, dlog_f * torch.sigmoid(-fgate)


class _Chunkwise(torch.autograd.Function):
    @staticmethod
    def forward(q, k, v, igate, fgate, chunk_size, reverse, eps):
        gates, _ = _gates(igate, fgate, q.shape[-1], chunk_size, reverse)
        (h,) = _each_head(partial(_output, reverse=reverse, eps=eps), q, k, v, *gates)
        return h

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.chunk_size, ctx.reverse, ctx.eps = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    def backward(ctx, dh):
        options = {'chunk_size': ctx.chunk_size, 'reverse': ctx.reverse, 'eps': ctx.eps}
        with full_precision(dh.device):  # backward may be called inside autocast
            gradients = mlstm_chunkwise_gradients(dh, *ctx.saved_tensors, **options)
        return *gradients, None, None, None

    @staticmethod
    def vmap(info, in_dims, *arguments):
        """What is mapped over joins the images: :func:`_output` could not work in place."""
        size = info.batch_size
        tensors = [
            (x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)).flatten(0, 1)
            for x, dim in zip(arguments[:5], in_dims, strict=False)
        ]
        return _Chunkwise.apply(*tensors, *arguments[5:]).unflatten(0, (size, -1)), 0


def _output(q, k, v, *gates: Tensor, reverse: bool, eps: float) -> tuple[Tensor]:
    """h ``(..., S, DH)``."""
    gates, length = _Gates(*gates), q.shape[-2]
    chunk_size = gates.m.shape[-1]
    q, k, v = (_cut(x, -2, chunk_size, reverse) for x in (q, k, v))

    # 1. what each chunk adds to the state, and the state it receives
    k_written = k * gates.omega.unsqueeze(-1)
    state = _receive(gates.carry, k_written.transpose(-2, -1) @ v)
    n = gates.carry @ k_written.sum(-2)

    # 2. outputs: from the incoming state and from the chunk itself
    W = _causal_((q @ k.transpose(-2, -1)).mul_(_weights(gates)), reverse)
    b = W.sum(-1).addcmul_(gates.alpha, _along(q, n))
    u = (W @ v).addcmul_(gates.alpha.unsqueeze(-1), q @ state)
    h = u.div_(normalizer(b, gates.m, eps).unsqueeze(-1))
    return (_trim(h.flatten(-3, -2), -2, length, reverse),)


def _gradients(dh, h, q, k, v, *gates: Tensor, reverse: bool, eps: float) -> tuple[Tensor, ...]:
    """Derivatives of the loss (dX is that by X), given that by h.

    Returns:
        dq, dk, dv ``(..., S, DH)``, and per token of the padded sequence ``(..., C * L)``: column
        and row sums of the derivative by the log-weights L_ts, and dm.
    """
    gates, length = _Gates(*gates), q.shape[-2]
    chunk_size = gates.m.shape[-1]
    dh_h = _cut((dh * h).sum(-1), -1, chunk_size, reverse)
    q, k, v, dh = (_cut(x, -2, chunk_size, reverse) for x in (q, k, v, dh))
    alpha, omega = gates.alpha.unsqueeze(-1), gates.omega.unsqueeze(-1)

    # 1. recompute the states, the weights W inside the chunk and the normaliser N
    k_written = k * omega
    state = _receive(gates.carry, k_written.transpose(-2, -1) @ v)
    n = gates.carry @ k_written.sum(-2)
    P = _weights(gates)
    W = _causal_(q @ k.transpose(-2, -1) * P, reverse)
    b = gates.alpha * _along(q, n) + W.sum(-1)
    N = normalizer(b, gates.m, eps)

    # 2. h = u / N with N = |b| + eps wherever |b| is above the floor exp(-m)
    dN = -dh_h / N
    db = normalizer_derivative(b, gates.m) * dN
    du, db = dh / N.unsqueeze(-1), db.unsqueeze(-1)

    # 3. what the later chunks ask of each chunk's outgoing state
    q_read = q * alpha
    dstate = _receive(gates.carry.mT, q_read.transpose(-2, -1) @ du)
    dn = gates.carry.mT @ (q_read * db).sum(-2)

    # 4. inside the chunk, and through the state
    dS = _causal_((du @ v.transpose(-2, -1) + db) * P, reverse)
    dq = torch.addcmul(dS @ k, alpha, du @ state.transpose(-2, -1) + db * n.unsqueeze(-2))
    dk = torch.addcmul(
        dS.transpose(-2, -1) @ q, omega, v @ dstate.transpose(-2, -1) + dn.unsqueeze(-2)
    )
    dv = torch.addcmul(W.transpose(-2, -1) @ du, omega, k @ dstate)

    # 5. the sums are q.dq and k.dk; all paths through m together leave only that through eps
    columns, rows = ((x * dx).sum(-1).flatten(-2) for x, dx in ((k, dk), (q, dq)))
    dq, dk, dv = (_trim(x.flatten(-3, -2), -2, length, reverse) for x in (dq, dk, dv))
    return dq, dk, dv, columns, rows, (dN * eps).flatten(-2)


class _Gates(NamedTuple):
    """What the gates decide; of P_ts = exp(read_t + written_s) only the two exponents are kept.

    ``written`` and ``omega`` hold the factor 1/sqrt(DH) of the keys. ``carry[c, z]`` is the product
    of the betas between chunks z and c: what chunk c receives of that which z added to the state.
    """

    m: Tensor  # (..., C, L)
    alpha: Tensor  # (..., C, L)
    omega: Tensor  # (..., C, L)
    carry: Tensor  # (..., C, C)
    read: Tensor  # (..., C, L), a_t - m_t
    written: Tensor  # (..., C, L), i_s - a_s


def _gates(
    igate: Tensor, fgate: Tensor, width: int, chunk_size: int, reverse: bool
) -> tuple[_Gates, Tensor]:
    """Every stabiliser and decay, before any matrix product; and which token set each m."""
    log_f = _cut(F.logsigmoid(fgate), -1, chunk_size, reverse)
    igate = _cut(igate, -1, chunk_size, reverse, value=-math.inf)
    m, argmax = _stabiliser(igate, log_f, reverse)
    a = cumsum(log_f, reverse)
    last = 0 if reverse else -1
    g, m_out = a[..., last], m[..., last]
    m_in = _previous(m_out, reverse)
    written = igate - a - 0.5 * math.log(width)
    gates = _Gates(
        m=m,
        alpha=(a + m_in.unsqueeze(-1) - m).exp(),
        omega=(written + (g - m_out).unsqueeze(-1)).exp(),
        carry=_carry(g + m_in - m_out, reverse),
        read=a - m,
        written=written,
    )
    return gates, argmax


def _stabiliser(igate: Tensor, log_f: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """m = F_t + max_{s<=t} (i_s - F_s) over the whole sequence, and where the maximum is."""
    F_t = cumsum(log_f.flatten(-2), reverse)
    running_max, argmax = cummax(igate.flatten(-2) - F_t, reverse)
    return (F_t + running_max).unflatten(-1, igate.shape[-2:]), argmax


def _previous(m_out: Tensor, reverse: bool) -> Tensor:
    """The log-scale each chunk receives, ``(..., C)``; -inf (nothing stored) for the first."""
    if reverse:
        return F.pad(m_out[..., 1:], (0, 1), value=-math.inf)
    return F.pad(m_out[..., :-1], (1, 0), value=-math.inf)


def _weights(gates: _Gates) -> Tensor:
    """P ``(..., C, L, L)``: exp(read_t + written_s), right where row t may read column s."""
    return bounded_exp_(gates.written.unsqueeze(-2) + gates.read.unsqueeze(-1))


def _causal_(x: Tensor, reverse: bool) -> Tensor:
    """Zeros, in place, where row t may not read column s of ``(..., L, L)``."""
    return x.triu_() if reverse else x.tril_()


def _along(x: Tensor, vector: Tensor) -> Tensor:
    """Dot products of each chunk's ``(..., C, L, DH)`` with its vector: ``(..., C, L)``."""
    return (x @ vector.unsqueeze(-1)).squeeze(-1)


def _carry(log_beta: Tensor, reverse: bool) -> Tensor:
    """``(..., C, C)``: exp of the sum of ``log_beta`` strictly between two chunks; see _Gates.

    Each sum is taken on its own, not as a difference of two long ones, to lose no digits.
    """
    if reverse:
        return _carry(log_beta.flip(-1), False).flip(-2, -1)
    chunks = log_beta.shape[-1]
    steps = log_beta.unsqueeze(-1).repeat_interleave(chunks, dim=-1).tril(-1)
    remains = steps.cumsum(-2).exp().tril()  # [c, z]: in the state that chunk c passes on
    return F.pad(remains[..., :-1, :], (0, 0, 1, 0))


def _receive(carry: Tensor, added: Tensor) -> Tensor:
    """The state that each chunk receives from all others, given what each adds; like ``added``."""
    return (carry @ added.flatten(-2)).unflatten(-1, added.shape[-2:])


def _each_head(function: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple:
    """Apply to all heads at once or, for long sequences on a CPU, to each: it fits the cache.

    An exported program takes any number of images, over which it cannot loop.
    """
    length = tensors[0].shape[-2]
    split = tensors[0].device.type == 'cpu' and length >= CPU_SPLIT_LENGTH
    if not split or torch.compiler.is_exporting():
        return function(*tensors)
    images, heads = tensors[0].shape[:2]
    parts = [function(*(x[b, n] for x in tensors)) for b in range(images) for n in range(heads)]
    outputs = [list(part) for part in zip(*parts, strict=True)]
    del parts  # so that each output's parts are freed when they are joined
    return tuple(
        torch.stack(outputs.pop(0)).unflatten(0, (images, heads)) for _ in range(len(outputs))
    )


def _cut(x: Tensor, dim: int, chunk_size: int, reverse: bool, value: float = 0.0) -> Tensor:
    """Split axis ``dim`` (-1 or -2) into (C, L), padded with ``value`` on the side read last."""
    padding = -x.shape[dim] % chunk_size
    if padding:
        sides = (padding, 0) if reverse else (0, padding)
        x = F.pad(x, sides if dim == -1 else (0, 0, *sides), value=value)
    return x.unflatten(dim, (-1, chunk_size))


def _trim(x: Tensor, dim: int, length: int, reverse: bool) -> Tensor:
    """Take the padding of :func:`_cut` away again."""
    return x.narrow(dim, x.shape[dim] - length if reverse else 0, length)
