"""Whether the native scan runs. Only this module decides."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from vil_mm.layers.conv import TokenConv2d
from vil_mm.layers.fused.scan import NUM_HEADS, altered_module
from vil_mm.layers.native import library
from vil_mm.mlstm.triton.runtime import DISABLED

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def find_weights(scan: nn.Module, x: Tensor) -> list[Tensor | None] | None:
    """The weights for :func:`~vil_mm.layers.native.op.native_scan` if it may replace a scan of x.

    Returns:
        In the order of ``library.PARAMETERS``; None if the scan has to run in plain PyTorch.

    Raises:
        ValueError: The backend is 'native', and no scan of this model can run so here.
    """
    if scan.mlstm_backend not in ('auto', 'native') or x.is_meta or _needs_plain():
        return None
    reason = unsupported_reason(scan, x)
    if reason and scan.mlstm_backend == 'native':
        raise ValueError(f"mlstm_backend='native' cannot run: {reason}, or set it to 'auto'")
    if reason or altered_module(scan) is not None or not x.numel():
        return None
    weights = _weights(scan)
    return weights if all(w is None or _is_plain(w) for w in (x, *weights)) else None


def unsupported_reason(scan: nn.Module, x: Tensor) -> str | None:
    """Why no scan of this model can run on tensors such as ``x``, for a message."""
    if not x.is_cpu:
        return f'it runs on a CPU, not on {x.device.type!r}; move the model'
    if x.dtype not in DTYPES:
        return f'it computes in float32, not in {x.dtype}; convert the model'
    if not isinstance(scan.conv, TokenConv2d):
        return 'it has the convolution of version 2 only; set version=2'
    width, rest = divmod(x.shape[-1], NUM_HEADS)
    if rest or width % 16 or width > library.MAX_WIDTH:
        return (
            f'it takes heads of a multiple of 16 channels up to {library.MAX_WIDTH}, not '
            f'{width}; change embed_dims'
        )
    if DISABLED:
        return 'the environment variable VIL_MM_KERNELS is 0; unset it'
    return library.load().reason


def _needs_plain() -> bool:
    """Whether this call needs PyTorch's own operators."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch.is_autocast_enabled('cpu')
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def _weights(scan: nn.Module) -> list[Tensor | None]:
    parts = scan._modules  # attributes of modules take several times as long to find
    conv, norm, igate, fgate = (parts[name] for name in ('conv', 'head_norm', 'igate', 'fgate'))
    q, k, v = (parts[name]._parameters for name in ('q_proj', 'k_proj', 'v_proj'))
    conv, norm, igate, fgate = (x._parameters for x in (conv, norm, igate, fgate))
    return [
        *(conv[name] for name in ('weight', 'bias')),
        *(x['weight'] for x in (q, k, v)),
        *(x.get('bias') for x in (q, k, v)),
        *(gate[name] for gate in (igate, fgate) for name in ('weight', 'bias')),
        *(norm.get(name) for name in ('weight', 'bias')),
        scan.skip,
    ]


def _is_plain(x: Tensor) -> bool:
    """Not a subclass with an arithmetic of its own, as of quantized weights."""
    return type(x) in (nn.Parameter, Tensor) and x.dtype in DTYPES
