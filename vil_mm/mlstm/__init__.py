"""The mLSTM, xLSTM's matrix-memory cell: one operator, several backends, the same numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from vil_mm.mlstm.chunkwise import mlstm_chunkwise
from vil_mm.mlstm.cost import choose_backend, choose_chunk_size
from vil_mm.mlstm.numerics import full_precision
from vil_mm.mlstm.parallel import mlstm_parallel
from vil_mm.mlstm.recurrent import MLSTMState, empty_state, mlstm_recurrent, mlstm_step
from vil_mm.mlstm.triton.op import log_once, mlstm_fused, unsupported
from vil_mm.mlstm.triton.runtime import unsupported_reason

__all__ = ['BACKENDS', 'MLSTMState', 'empty_state', 'mlstm', 'mlstm_step']

BACKENDS = ('auto', 'parallel', 'recurrent', 'chunkwise', 'triton')


def mlstm(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    *,
    reverse: bool = False,
    backend: str = 'auto',
    chunk_size: int | None = None,
    eps: float = 1e-6,
) -> Tensor:
    """Read a sequence with a matrix memory whose decay and writes learned gates control.

    For each image and head, token t reads the tokens s <= t (s >= t in reverse)::

        l_r  = log sigmoid(f_r)
        L_ts = sum_{s < r <= t} l_r + i_s                  log-weight of token s
        m_t  = max_s L_ts                                  stabiliser
        W_ts = (q_t . k_s / sqrt(DH)) exp(L_ts - m_t)
        h_t  = sum_s W_ts v_s / (max(|sum_s W_ts|, exp(-m_t)) + eps)

    (Beck et al., "xLSTM", 2024, appendix A; Alkin et al., "Vision-LSTM", 2024.)

    Where the two arguments of max are equal, each receives half of the gradient, in all backends
    (the rule of ``torch.maximum``); the derivative of ``|x|`` at 0 is 0.

    Args:
        q, k, v: ``(B, S, NH, DH)``, any strides, any floating dtype; ``k`` unscaled. Or
            ``(B, S1, S2, NH, DH)``: two sequence axes read in row-major order, so that a scan of a
            grid by columns is ``mlstm(q.transpose(1, 2), ...).transpose(1, 2)``.
        igate, fgate: ``(B, S, NH)`` or ``(B, S1, S2, NH)`` pre-activations of the exponential input
            gate and of the sigmoid forget gate.
        reverse: Read the sequence from its end; ``h`` comes back in the order of ``q``.
        backend: ``'parallel'`` is the definition, O(S^2). ``'chunkwise'`` is linear in S.
            ``'recurrent'`` goes token by token. ``'triton'`` computes chunkwise in fused CUDA
            kernels, for heads of a multiple of 16 channels; where they cannot run, 'chunkwise' runs
            after one line in the log. ``'auto'`` selects 'triton' where it can run, else the
            cheapest by :mod:`vil_mm.mlstm.cost`. All give the same numbers and gradients. 'triton'
            can be differentiated once; forward-mode derivatives (``torch.func.jvp``) need
            'parallel' or 'recurrent'.
        chunk_size: Tokens per chunk: any number >= 1 for 'chunkwise'; 64, 128, 256, 512 or 1024 for
            'triton'; ``None`` chooses.
        eps: Added to the normaliser.

    Returns:
        h: Shape and dtype of ``q``, before the head norm. Half-precision inputs are computed in
        float32, also under autocast; in 'triton' products are in half precision and sums in
        float32. float64 stays float64.

    Raises:
        ValueError: Shapes, backend, head size or chunk size are not as above.
        TypeError: ``q``, ``k`` and ``v`` are not of one floating dtype.
    """
    _check(q, k, v, igate, fgate, backend, chunk_size)
    if backend == 'triton' or (backend == 'auto' and _fused_can_run(q, k, v, igate, fgate)):
        return mlstm_fused(q, k, v, igate, fgate, reverse=reverse, chunk_size=chunk_size, eps=eps)
    shape, out_dtype = q.shape, q.dtype
    dtype = torch.float32
    for x in (q, igate, fgate):
        dtype = torch.promote_types(dtype, x.dtype)
    num_heads, head_dim = shape[-2:]
    length = shape[1:-2].numel()
    if backend == 'auto':
        backend, auto_size = choose_backend(length, num_heads, head_dim)
        chunk_size = chunk_size or auto_size

    with full_precision(q.device):
        q, k, v = (
            x.to(dtype).reshape(shape[0], length, *shape[-2:]).transpose(1, 2) for x in (q, k, v)
        )
        igate, fgate = (
            x.to(dtype).reshape(shape[0], length, num_heads).mT.contiguous() for x in (igate, fgate)
        )
        options = {'reverse': reverse, 'eps': eps}
        if backend == 'parallel':
            h = mlstm_parallel(q, k, v, igate, fgate, **options)
        elif backend == 'recurrent':
            h = mlstm_recurrent(q, k, v, igate, fgate, **options)
        else:
            chunk_size = chunk_size or choose_chunk_size(length, num_heads, head_dim)
            h = mlstm_chunkwise(q, k, v, igate, fgate, chunk_size=chunk_size, **options)
    return h.transpose(1, 2).reshape(shape).to(out_dtype)


def _fused_can_run(*tensors: Tensor) -> bool:
    """On CUDA, whether 'auto' selects 'triton'; if not, the log says why, once."""
    if not tensors[0].is_cuda:
        return False
    reason = unsupported_reason(*tensors) or unsupported(*tensors[:3])
    if reason and not torch.compiler.is_compiling():
        log_once(reason)
    return reason is None


def _check(q, k, v, igate, fgate, backend: str, chunk_size: int | None) -> None:
    if backend not in BACKENDS:
        raise ValueError(f'mlstm backend {backend!r} is not known; choose one of {BACKENDS}')
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f'mlstm chunk_size must be at least 1 token, got {chunk_size}')
    if q.dim() not in (4, 5) or q.shape[1:-2].numel() == 0:
        raise ValueError(
            'mlstm expects q, k, v of shape (B, S, NH, DH) or (B, S1, S2, NH, DH) with at least '
            f'one token, got q of shape {tuple(q.shape)}'
        )
    if not (q.shape == k.shape == v.shape):
        shapes = [tuple(x.shape) for x in (q, k, v)]
        raise ValueError(f'mlstm expects q, k and v of one shape, got {shapes}')
    if not (igate.shape == fgate.shape == q.shape[:-1]):
        raise ValueError(
            f'mlstm expects gates of shape {tuple(q.shape[:-1])}, one number a token and head, got '
            f'igate {tuple(igate.shape)} and fgate {tuple(fgate.shape)}'
        )
    if not (q.is_floating_point() and q.dtype == k.dtype == v.dtype):
        raise TypeError(
            'mlstm expects q, k and v of one floating dtype, got '
            f'{q.dtype}, {k.dtype} and {v.dtype}'
        )
