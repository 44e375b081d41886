"""Backend 'triton' as PyTorch operators: one node for torch.compile and torch.export.

Forward: gates, states if the sequence has several chunks, outputs. Backward: gates again, rows,
states of both directions, gradients of q, k and v, gradients of the gates. Autograd saves the
inputs, h, and two numbers per token and head; the states are recomputed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from vil_mm.mlstm.chunkwise import mlstm_chunkwise, mlstm_chunkwise_gradients
from vil_mm.mlstm.cost import choose_chunk_size
from vil_mm.mlstm.numerics import full_precision
from vil_mm.mlstm.triton.memory import empty_grid, offsets_fit
from vil_mm.mlstm.triton.runtime import unsupported_reason

_logged: set[str] = set()


def mlstm_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    *,
    reverse: bool = False,
    chunk_size: int | None = None,
    eps: float = 1e-6,
    state_dtype: torch.dtype | None = None,
) -> Tensor:
    """Backend 'triton'; arguments and result as in :func:`vil_mm.mlstm.mlstm`.

    Where the kernels cannot run (no Triton, no CUDA, float64), backend 'chunkwise' runs after one
    line in the log. Differentiable once.

    Args:
        chunk_size: 64, 128, 256, 512 or 1024 tokens; ``None`` chooses.
        state_dtype: torch.float32 or torch.bfloat16, in which states between chunks are stored. By
            default float32 for float32 inputs and bfloat16 for half precision. They are accumulated
            in float32 either way.

    Raises:
        ValueError: The head size is not a multiple of 16, ``chunk_size`` or ``state_dtype`` is not
            one of these, or an image's sequence spans 2**31 entries or more.
    """
    _check(q, k, v, chunk_size, state_dtype)
    grid = q.dim() == 5
    if not grid:
        q, k, v, igate, fgate = (x.unsqueeze(1) for x in (q, k, v, igate, fgate))
    if state_dtype is None:
        state_dtype = torch.float32 if q.dtype == torch.float32 else torch.bfloat16
    h = torch.ops.vil_mm.mlstm(q, k, v, igate, fgate, reverse, chunk_size or 0, eps, state_dtype)[0]
    return h if grid else h.squeeze(1)


def _check(q: Tensor, k: Tensor, v: Tensor, chunk_size: int | None, state_dtype) -> None:
    if reason := unsupported(q, k, v):
        raise ValueError(f"{reason}; use backend 'chunkwise'")
    if chunk_size is not None and chunk_size not in (64, 128, 256, 512, 1024):
        raise ValueError(
            f"backend 'triton' takes chunks of 64, 128, 256, 512 or 1024 tokens, not {chunk_size}"
        )
    if state_dtype not in (None, torch.float32, torch.bfloat16):
        raise ValueError(f'states are stored in torch.float32 or torch.bfloat16, not {state_dtype}')


def unsupported(*tensors: Tensor) -> str | None:
    """Why the kernels cannot take the shapes ``(..., NH, DH)``, for a message; None if they can."""
    width = tensors[0].shape[-1]
    sequences = tensors[0].shape[0] * tensors[0].shape[-2]
    if sequences > 65535:  # programs on CUDA's second and third axis
        return f"backend 'triton' takes up to 65535 sequences (images times heads), got {sequences}"
    if width % 16:
        return f"backend 'triton' needs heads of a multiple of 16 channels, got {width}"
    if not all(map(offsets_fit, tensors)):
        shape = tuple(tensors[0].shape)
        return f"backend 'triton' takes images of less than 2**31 entries, got {shape}"
    return None


@torch.library.custom_op('vil_mm::mlstm', mutates_args=())
def mlstm_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    reverse: bool,
    chunk_size: int,
    eps: float,
    state_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """h, of the shape of q ``(B, S1, S2, NH, DH)``; b and m ``(B, NH, S)``, float32, as read.

    ``chunk_size`` 0 chooses. b is the signed normaliser, m the stabiliser in units of log 2.
    """
    if reason := _fallback_reason(q, k, v, igate, fgate):
        log_once(reason)
        h = _chunkwise_output(q, k, v, igate, fgate, reverse, eps)
        return h, *(_per_token(q) for _ in range(2))
    from vil_mm.mlstm.triton.launches import forward

    return forward(q, k, v, igate, fgate, reverse, chunk_size, eps, state_dtype)


@torch.library.custom_op('vil_mm::mlstm_backward', mutates_args=())
def mlstm_backward_op(
    dh: Tensor, saved: Sequence[Tensor], reverse: bool, eps: float, state_dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dq, dk, dv, digate and dfgate, each laid out in memory as its own tensor's grid.

    ``saved``: q, k, v, igate, fgate, h, b, m.
    """
    q, k, v, igate, fgate, h, _, _ = saved
    if _fallback_reason(q, k, v, igate, fgate):
        return _chunkwise_gradients(dh, q, k, v, igate, fgate, h, reverse, eps)
    from vil_mm.mlstm.triton.launches import backward

    return backward(dh, *saved, reverse, eps, state_dtype)


@mlstm_op.register_fake
def _(q, k, v, igate, fgate, reverse, chunk_size, eps, state_dtype):
    return empty_grid(q), _per_token(q), _per_token(q)


@mlstm_backward_op.register_fake
def _(dh, saved, reverse, eps, state_dtype):
    q, _, _, igate, fgate, *_ = saved
    return tuple(empty_grid(x) for x in (q, q, q, igate, fgate))


def _save(ctx, inputs, output) -> None:
    q, k, v, igate, fgate, ctx.reverse, _, ctx.eps, ctx.state_dtype = inputs
    ctx.save_for_backward(q, k, v, igate, fgate, *output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, dh, _db, _dm) -> tuple:
    if dh is None:
        return (None,) * 9
    gradients = torch.ops.vil_mm.mlstm_backward(
        dh, list(ctx.saved_tensors), ctx.reverse, ctx.eps, ctx.state_dtype
    )
    return (*gradients, None, None, None, None)


mlstm_op.register_autograd(_differentiate, setup_context=_save)


def _per_token(q: Tensor) -> Tensor:
    batch, rows, columns, heads, _ = q.shape
    return q.new_zeros((batch, heads, rows * columns), dtype=torch.float32)


def _chunkwise_output(q, k, v, igate, fgate, reverse: bool, eps: float) -> Tensor:
    inputs = _by_heads(q, k, v, igate, fgate)
    size = choose_chunk_size(inputs[0].shape[-2], *q.shape[-2:])
    with full_precision(q.device):
        h = mlstm_chunkwise(*inputs, chunk_size=size, reverse=reverse, eps=eps)
    return empty_grid(q).copy_(h.transpose(1, 2).reshape(q.shape))


def _chunkwise_gradients(dh, q, k, v, igate, fgate, h, reverse: bool, eps: float) -> tuple:
    dh, h = (x.flatten(1, 2).transpose(1, 2) for x in (dh, h))
    inputs = _by_heads(q, k, v, igate, fgate)
    dh, h = (x.to(inputs[0].dtype) for x in (dh, h))
    size = choose_chunk_size(h.shape[-2], *q.shape[-2:])
    with full_precision(q.device):
        gradients = mlstm_chunkwise_gradients(
            dh, *inputs, h, chunk_size=size, reverse=reverse, eps=eps
        )
    given = (q, k, v, igate, fgate)
    return tuple(
        empty_grid(x).copy_(gradient.transpose(1, 2).reshape(x.shape))
        for x, gradient in zip(given, gradients, strict=True)
    )


def _by_heads(*tensors: Tensor) -> list[Tensor]:
    """(B, S1, S2, NH, ...) to (B, NH, S, ...), in at least float32."""
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    return [x.to(dtype).flatten(1, 2).transpose(1, 2) for x in tensors]


def _fallback_reason(*tensors: Tensor) -> str | None:
    reason = unsupported_reason(*tensors)
    if reason is None and len({x.device for x in tensors}) > 1:
        reason = 'their inputs are on several devices'
    return reason


def log_once(reason: str) -> None:
    """Log, once for each reason, that plain PyTorch runs instead."""
    if reason not in _logged:
        _logged.add(reason)
        logging.getLogger('vil_mm').warning(
            "vil_mm: backend 'triton' cannot be used (%s); plain PyTorch runs instead",
            reason,
        )
