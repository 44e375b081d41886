"""Fused head norm, skip and output gate: one kernel forward, one backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm.layers.fused.memory import empty, empty_map, readable, share
from vil_mm.layers.norm import head_norm
from vil_mm.mlstm.triton.runtime import HAS_TRITON, Config, launch, unsupported_reason

if HAS_TRITON:
    from vil_mm.layers.fused import gate_kernels

# 16 entries of a tile a thread forward; 8 backward, where twice as many tensors are in registers.
# One stage: there is nothing that shared memory would be good for.
ENTRIES = 2048
FORWARD_CONFIGS = (Config(num_warps=4, num_stages=1),)
BACKWARD_CONFIGS = (Config(num_warps=8, num_stages=1),)


def norm_skip_gate(h: Tensor, a: Tensor, z: Tensor, norm: nn.Module, skip: Tensor) -> Tensor:
    """``(norm(h) + skip * a) * silu(z)``; float32, bfloat16 or float16.

    Args:
        h: ``(B, Hg, Wg, NH, DH)``, what the mLSTM read.
        a, z: ``(B, Hg, Wg, E)`` with E = NH * DH; any strides, the last one 1.
        norm: A :class:`vil_mm.layers.HeadNorm`; only its weights are read.
        skip: ``(E)``.

    Returns:
        ``(B, Hg, Wg, E)``, in memory as z, and so are the gradients of h, a and z each as its own.

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
    return forward(h, a, z, weight, bias, skip, eps)


@gate_op.register_fake
def _(h, a, z, weight, bias, skip, eps):
    return empty_map(z)


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
    return backward(h, a, z, dy, weight, bias, skip, eps)


@gate_backward_op.register_fake
def _(h, a, z, dy, weight, bias, skip, eps):
    sums = empty((3, weight.numel()), weight, torch.float32)
    return empty_map(h), empty_map(a), empty_map(z), sums


def _setup_context(ctx, inputs, output) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, dy):
    h, a, z, weight, bias, skip = ctx.saved_tensors
    dh, da, dz, sums = gate_backward_op(h, a, z, dy, weight, bias, skip, ctx.eps)
    of_weight, of_bias, of_skip = sums.unbind()
    return dh, da, dz, of_weight, None if bias is None else of_bias, of_skip, None


gate_op.register_autograd(_backward, setup_context=_setup_context)


def forward(
    h: Tensor,
    a: Tensor,
    z: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    eps: float,
) -> Tensor:
    """Launch the forward kernel; arguments and result of :func:`gate_op`."""
    y = empty_map(z)
    h, a, z = readable(h), readable(a), readable(z)
    sizes = _sizes(h, eps)
    launch(
        gate_kernels.forward,
        (h.shape[0] * sizes['tiles'], h.shape[3]),
        FORWARD_CONFIGS,
        **{'h': h, 'a': a, 'z': z, 'weight': weight, 'bias': bias, 'skip': skip, 'y': y},
        **sizes,
        **_strides(h=h, a=a, z=z, y=y),
    )
    return y


def backward(
    h: Tensor,
    a: Tensor,
    z: Tensor,
    dy: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    skip: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Launch the backward kernel; arguments and results of :func:`gate_backward_op`."""
    dh, da, dz = empty_map(h), empty_map(a), empty_map(z)
    h, a, z, dy = readable(h), readable(a), readable(z), readable(dy)
    sizes = _sizes(h, eps)
    all_steps, heads = h.shape[0] * sizes['tiles'], h.shape[3]
    steps = share(all_steps, heads)
    programs = -(-all_steps // steps)
    sums = empty((programs, 3, weight.numel()), weight, torch.float32)
    launch(
        gate_kernels.backward,
        (programs, heads),
        BACKWARD_CONFIGS,
        **{'h': h, 'a': a, 'z': z, 'dy': dy, 'weight': weight, 'bias': bias, 'skip': skip},
        **{'dh': dh, 'da': da, 'dz': dz, 'sums': sums, 'steps': steps, 'all_steps': all_steps},
        **sizes,
        **_strides(h=h, a=a, z=z, dy=dy, dh=dh, da=da, dz=dz),
    )
    return dh, da, dz, sums.sum(0)


def _sizes(h: Tensor, eps: float) -> dict[str, int | float]:
    _, rows, columns, _, width = h.shape
    padded = 1 << (width - 1).bit_length()
    tokens = max(1, ENTRIES // padded)
    sizes = {'length': rows * columns, 'columns': columns, 'width': width, 'eps': eps}
    return sizes | {'tiles': -(-rows * columns // tokens), 'TOKENS': tokens, 'PADDED': padded}


def _strides(**tensors: Tensor) -> dict[str, int]:
    names = ('batch', 'row', 'column', 'head')
    return {
        f'{tensor}_{name}': stride
        for tensor, x in tensors.items()
        for name, stride in zip(names, x.stride()[:-1], strict=False)
    }


def _plain(h, a, z, weight, bias, skip, eps: float) -> Tensor:
    """The same by PyTorch, for programs that were compiled or exported with the op in them."""
    return empty_map(z).copy_(_formula(h, a, z, weight, bias, skip, eps))


def _formula(h, a, z, weight, bias, skip, eps: float) -> Tensor:
    return torch.addcmul(head_norm(h, weight, bias, eps), skip, a) * F.silu(z)


def _plain_backward(h, a, z, dy, weight, bias, skip, eps: float) -> tuple[Tensor, ...]:
    offset = torch.zeros_like(weight) if bias is None else bias
    inputs = (h, a, z, weight, offset, skip)
    _, pull = torch.func.vjp(lambda *inputs: _formula(*inputs, eps).to(z.dtype), *inputs)
    dh, da, dz, *of_parameters = pull(dy)
    dh, da, dz = (empty_map(x).copy_(dx) for x, dx in zip((h, a, z), (dh, da, dz), strict=True))
    return dh, da, dz, torch.stack(of_parameters)
