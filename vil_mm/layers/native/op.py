"""The native scan as a PyTorch operator with its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vil_mm.layers.conv import token_conv
from vil_mm.layers.fused.scan import NUM_HEADS
from vil_mm.layers.gates import gate_product
from vil_mm.layers.headwise import block_diagonal
from vil_mm.layers.native import library
from vil_mm.layers.norm import head_norm
from vil_mm.mlstm import mlstm
from vil_mm.mlstm.triton.memory import empty_grid

EPS = 1e-6  # of the mLSTM's normaliser
INPUTS = 2 + len(library.PARAMETERS)  # tensors that the operator differentiates
OPTIONAL = ('q_bias', 'k_bias', 'v_bias', 'norm_bias')
WEIGHTS = ', '.join(  # in schemas of operators
    f'Tensor{"?" if name in OPTIONAL else ""} {name}' for name in library.PARAMETERS
)


def native_scan(
    scan: nn.Module, x: Tensor, z: Tensor, weights: list[Tensor | None], reverse: bool
) -> Tensor:
    """The result of ``scan.by_rows``, from the weights of its modules.

    Args:
        scan: A :class:`vil_mm.layers.Scan`.
        x, z: ``(B, Hg, Wg, E)``, float32 or half precision; computed in float32.
        weights: Found by :func:`~vil_mm.layers.native.scan.find_weights`.
        reverse: Read the sequence from its end.
    """
    dtype, x, z = z.dtype, _float32(x), _float32(z)
    weights = [_float32(w) for w in weights]
    recorded = torch.is_grad_enabled() and any(
        w is not None and w.requires_grad for w in (x, z, *weights)
    )
    norm_eps = scan.head_norm.eps
    if recorded or torch._C._len_torch_dispatch_stack():  # autograd, or a mode that counts FLOPs
        y = torch.ops.vil_mm.native_scan(x, z, *weights, reverse, norm_eps, recorded)[0]
    else:  # without PyTorch's dispatcher, which takes a tenth of the time of a short scan
        y = _forward(x, z, weights, reverse, norm_eps, recorded)[0]
    return y if y.dtype is dtype else y.to(dtype)


def _float32(x: Tensor | None) -> Tensor | None:
    return x if x is None or x.dtype is torch.float32 else x.float()


@torch.library.custom_op(
    'vil_mm::native_scan',
    mutates_args=(),
    schema=f'(Tensor x, Tensor z, {WEIGHTS}, bool reverse, float norm_eps, bool recorded)'
    ' -> (Tensor, Tensor, Tensor, Tensor, Tensor)',
)
def scan_op(x, z, *weights_and_options):
    """y ``(B, Hg, Wg, E)``, laid out as z, and what the gradient needs if it is ``recorded``.

    That is, in reading order: the gates ``(B, 8, S)``, the convolution ``(B, S, E)``, the mLSTM's
    output ``(B, S, E)``, and the state that each chunk receives.
    """
    *weights, reverse, norm_eps, recorded = weights_and_options
    return _forward(x, z, weights, reverse, norm_eps, recorded)


def _forward(
    x: Tensor, z: Tensor, weights: list[Tensor | None], reverse, norm_eps, recorded
) -> tuple[Tensor, ...]:
    x, z = _readable(x), _readable(z)
    y, *kept = _outputs(x, z, recorded)
    weights = [_contiguous(w) for w in weights]
    arguments = _arguments(x, z, weights, kept, reverse, norm_eps)
    arguments.y = library.as_map(y)
    library.call('forward', arguments)
    return y, *kept


@scan_op.register_fake
def _(x, z, *rest):
    return _outputs(x, z, rest[-1])


@torch.library.custom_op(
    'vil_mm::native_scan_backward',
    mutates_args=(),
    schema=f'(Tensor dy, Tensor x, Tensor z, {WEIGHTS}, Tensor gates, Tensor conv_out,'
    ' Tensor hidden, Tensor states, bool reverse, float norm_eps) -> Tensor[]',
)
def backward_op(dy, x, z, *rest):
    """Gradients of x, z and the weights, without those of biases that are None."""
    *weights, gates, conv_out, hidden, states, reverse, norm_eps = rest
    x, z, dy = _readable(x), _readable(z), _readable(dy)
    weights = [_contiguous(w) for w in weights]
    arguments = _arguments(x, z, weights, [gates, conv_out, hidden, states], reverse, norm_eps)
    dx, dz, *gradients = _gradients(x, z, weights)
    arguments.dy, arguments.dx, arguments.dz = map(library.as_map, (dy, dx, dz))
    arguments.gradients = library.as_parameters(gradients)
    dconv, dgates = torch.empty_like(conv_out), torch.empty_like(gates)
    arguments.dconv, arguments.dgates = dconv.data_ptr(), dgates.data_ptr()
    library.call('backward', arguments)
    return [dx, dz, *(g for g in gradients if g is not None)]


@backward_op.register_fake
def _(dy, x, z, *rest):
    return [g for g in _gradients(x, z, rest[: len(library.PARAMETERS)]) if g is not None]


def _gradients(x: Tensor, z: Tensor, weights: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Memory for them."""
    dense = torch.contiguous_format
    return [
        empty_grid(x),
        empty_grid(z),
        *(None if w is None else torch.empty_like(w, memory_format=dense) for w in weights),
    ]


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.reverse, ctx.norm_eps, recorded = inputs
    if not recorded:
        return
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, dy, *_) -> tuple:
    if dy is None:
        return (None,) * (INPUTS + 3)
    tensors = ctx.saved_tensors
    if torch.is_grad_enabled():  # the gradient will be differentiated
        gradients = _plain_gradients(dy, tensors[:INPUTS], ctx.reverse, ctx.norm_eps)
    else:
        gradients = torch.ops.vil_mm.native_scan_backward(dy, *tensors, ctx.reverse, ctx.norm_eps)
    following = iter(gradients)
    found = [None if x is None else next(following) for x in tensors[:INPUTS]]
    return (*found, None, None, None)


scan_op.register_autograd(_differentiate, setup_context=_save)


def _outputs(x: Tensor, z: Tensor, recorded: bool) -> tuple[Tensor, ...]:
    images, rows, columns, channels = x.shape
    length, width = rows * columns, channels // NUM_HEADS
    chunks = -(-length // library.chunk_size(length))
    gates = torch.empty(images, 2 * NUM_HEADS, length, device=x.device)
    if not recorded:
        return empty_grid(z), gates, *(gates.new_empty(0) for _ in range(3))
    states = gates.new_empty(images, NUM_HEADS, chunks, width * (width + 1))
    tokens = (gates.new_empty(images, length, channels) for _ in range(2))
    return empty_grid(z), gates, *tokens, states


def _arguments(
    x: Tensor, z: Tensor, weights: list[Tensor | None], kept: list[Tensor], reverse, norm_eps
) -> library.Arguments:
    """Without those of the gradient and without y."""
    images, rows, columns, channels = x.shape
    chunk = library.chunk_size(rows * columns)
    threads = torch.get_num_threads()
    arguments = library.Arguments(
        images, rows, columns, channels, reverse, chunk, threads, norm_eps, EPS, library.parallel()
    )
    arguments.x, arguments.z = library.as_map(x), library.as_map(z)
    arguments.weights = library.as_parameters(weights)
    arguments.gates = kept[0].data_ptr()
    if kept[1].numel():
        arguments.conv, arguments.hidden, arguments.states = (y.data_ptr() for y in kept[1:])
    return arguments


def _readable(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _contiguous(x: Tensor | None) -> Tensor | None:
    return x if x is None or x.is_contiguous() else x.contiguous()


def plain_scan(x: Tensor, z: Tensor, *weights: Tensor | None, reverse: bool, eps: float) -> Tensor:
    """The same in plain PyTorch, for derivatives of the gradient."""
    conv, conv_bias, q, k, v, q_bias, k_bias, v_bias, *gates, norm, norm_bias, skip = weights
    a = F.silu(token_conv(rearrange(x, 'b h w e -> b e h w'), conv, conv_bias, reverse))
    a = rearrange(a, 'b e h w -> b h w e')
    parts = ((a, q, q_bias), (a, k, k_bias), (x, v, v_bias))
    q, k, v = (block_diagonal(source, weight, bias) for source, weight, bias in parts)
    igate, fgate = (gate_product((q, k, v), *gate) for gate in (gates[:2], gates[2:]))
    q, k, v = (y.unflatten(-1, (NUM_HEADS, -1)) for y in (q, k, v))
    h = mlstm(q, k, v, igate, fgate, reverse=reverse, eps=EPS)
    return torch.addcmul(head_norm(h, norm, norm_bias, eps), skip, a) * F.silu(z)


def _plain_gradients(dy: Tensor, inputs: Sequence[Tensor | None], reverse, norm_eps) -> list:
    """What backward_op returns, as a graph that can be differentiated again."""
    present = [x for x in inputs if x is not None]
    with torch.enable_grad():
        present = [x if x.requires_grad else x.detach().requires_grad_() for x in present]
        following = iter(present)
        x, z, *weights = (None if x is None else next(following) for x in inputs)
        y = plain_scan(x, z, *weights, reverse=reverse, eps=norm_eps)
        return list(torch.autograd.grad(y, present, dy, create_graph=True))
