"""Head norm, skip and output gate as one operator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm.layers.norm import head_norm
from vil_mm.mlstm.triton.memory import empty, empty_grid
from vil_mm.mlstm.triton.runtime import unsupported_reason


def norm_skip_gate(h: Tensor, a: Tensor, z: Tensor, norm: nn.Module, skip: Tensor) -> Tensor:
    """``(norm(h) + skip * a) * silu(z)``; float32, bfloat16 or float16.

    Args:
        h: ``(B, Hg, Wg, NH, DH)``, the mLSTM's output.
        a, z: ``(B, Hg, Wg, E)`` with E = NH * DH; any strides, the last one 1.
        norm: A :class:`vil_mm.layers.HeadNorm`, of which only the weights are used.
        skip: ``(E)``.

    Returns:
        ``(B, Hg, Wg, E)``, laid out in memory as z. Each gradient is laid out as its tensor.

    Raises:
        ValueError: An image is too large for 32-bit offsets.
    """
    bias = None if norm.bias is None else norm.bias.float()
    return gate_op(h, a, z, norm.weight.float(), bias, skip.float(), norm.eps)


@torch.library.custom_op('vil_mm::norm_skip_gate', mutates_args=())
def gate_op(
    h: Tensor,
    a: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    eps: float,
) -> Tensor:
    """y ``(B, Hg, Wg, E)``."""
    if unsupported_reason(h, a, z) is not None:
        return _plain(h, a, z, weight, bias, skip, eps)
    from vil_mm.layers.fused.launches import gate_forward

    return gate_forward(h, a, z, weight, bias, skip, eps)


@gate_op.register_fake
def _(h, a, z, weight, bias, skip, eps):
    return empty_grid(z)


@torch.library.custom_op('vil_mm::norm_skip_gate_backward', mutates_args=())
def gate_backward_op(
    h: Tensor,
    a: Tensor,
    z: Tensor,
    dy: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dh, da, dz, and the gradients ``(3, E)`` of weight, bias and skip."""
    if unsupported_reason(h, a, z) is not None:
        return _plain_backward(h, a, z, dy, weight, bias, skip, eps)
    from vil_mm.layers.fused.launches import gate_backward

    return gate_backward(h, a, z, dy, weight, bias, skip, eps)


@gate_backward_op.register_fake
def _(h, a, z, dy, weight, bias, skip, eps):
    sums = empty((3, weight.numel()), weight, torch.float32)
    return empty_grid(h), empty_grid(a), empty_grid(z), sums


def _setup_context(ctx, inputs, output) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, dy):
    h, a, z, weight, bias, skip = ctx.saved_tensors
    dh, da, dz, sums = gate_backward_op(h, a, z, dy, weight, bias, skip, ctx.eps)
    dweight, dbias, dskip = sums.unbind()
    return dh, da, dz, dweight, None if bias is None else dbias, dskip, None


gate_op.register_autograd(_backward, setup_context=_setup_context)


def _plain(h, a, z, weight, bias, skip, eps: float) -> Tensor:
    """Plain PyTorch, for compiled or exported programs that run where the kernels cannot."""
    return empty_grid(z).copy_(_formula(h, a, z, weight, bias, skip, eps))


def _formula(h, a, z, weight, bias, skip, eps: float) -> Tensor:
    return torch.addcmul(head_norm(h, weight, bias, eps), skip, a) * F.silu(z)


def _plain_backward(h, a, z, dy, weight, bias, skip, eps: float) -> tuple[Tensor, ...]:
    offset = torch.zeros_like(weight) if bias is None else bias
    inputs = (h, a, z, weight, offset, skip)
    _, pull = torch.func.vjp(lambda *inputs: _formula(*inputs, eps).to(z.dtype), *inputs)
    dh, da, dz, *dparameters = pull(dy)
    dh, da, dz = (empty_grid(x).copy_(dx) for x, dx in zip((h, a, z), (dh, da, dz), strict=True))
    return dh, da, dz, torch.stack(dparameters)
