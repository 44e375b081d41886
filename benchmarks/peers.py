"""Operators that the mLSTM cell is compared with. The libraries are imported only if present.

Each factory returns a call on fresh inputs of the same number of tokens and of the same inner width
as the cell, and the tensors that it takes gradients of. Their shapes are as their own documentation
asks; none but mlstm_kernels computes the mLSTM.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Operator = tuple[Callable[[], Tensor], list[Tensor]]
HEAD = 64  # channels of a head in the ViTs, and those that RWKV and Mamba-2 are made for
BACKENDS = {
    'sdpa_flash': SDPBackend.FLASH_ATTENTION,
    'sdpa_cudnn': SDPBackend.CUDNN_ATTENTION,
}
# name -> module that has to be there, of which package
LIBRARIES = {
    'mlstm_kernels': ('mlstm_kernels', 'mlstm_kernels'),
    'simple_gla': ('fla', 'flash-linear-attention'),
    'rwkv6': ('fla', 'flash-linear-attention'),
    'rwkv7': ('fla', 'flash-linear-attention'),
    'mamba2': ('mamba_ssm', 'mamba-ssm'),
}


def available(device: str) -> tuple[list[str], list[str]]:
    """Names that can run here, and a line for each that cannot."""
    names, skipped = ['sdpa_flash'], []
    if device == 'cuda':
        names.append('sdpa_cudnn')
    else:
        skipped.append('skipped sdpa_cudnn: needs a GPU')
    for name, (module, package) in LIBRARIES.items():
        if device != 'cuda':
            skipped.append(f'skipped {name}: its kernels need a GPU')
        elif importlib.util.find_spec(module) is None:
            skipped.append(f'skipped {name}: {package} is not installed')
        else:
            names.append(name)
    return names, skipped


def sdpa(name: str, batch: int, length: int, dim: int, **like) -> Operator:
    """Attention over all pairs of tokens, as in the ViT of the same width d."""
    q, k, v = (torch.randn(batch, dim // HEAD, length, HEAD, **like) for _ in range(3))

    def call() -> Tensor:
        with sdpa_kernel(BACKENDS[name]):
            return F.scaled_dot_product_attention(q, k, v)

    return call, [q, k, v]


def attention_that_runs(
    choices: list[SDPBackend], shape: tuple[int, ...], *, training: bool, **like
) -> str:
    """The first of the backends that takes q, k, v of ``shape`` (B, heads, S, HEAD), by name.

    PyTorch does not tell which one it took, so each is tried alone.
    """
    q, k, v = (torch.randn(shape, **like, requires_grad=training) for _ in range(3))
    for backend in choices:
        with contextlib.suppress(RuntimeError), warnings.catch_warnings(), sdpa_kernel(backend):
            warnings.simplefilter('ignore')  # why a backend does not
            F.scaled_dot_product_attention(q, k, v)
            return backend.name.lower().removesuffix('_attention')
    return 'none'


def mlstm_kernels(cell: list[Tensor], chunk_size: int = 128) -> Operator:
    """The mLSTM of NX-AI on the same numbers, padded beforehand to what its kernels accept.

    Heads and sequence first, contiguous; head size a power of two; S a multiple of the chunk. It
    scales by the padded head size, which is undone in q.
    """
    from mlstm_kernels.torch import get_mlstm_kernel

    kernel = get_mlstm_kernel('chunkwise--triton_xl_chunk')
    q, k, v, igate, fgate = cell
    length, head_dim = q.shape[1], q.shape[3]
    padded = 1 << (head_dim - 1).bit_length()
    after = -length % chunk_size
    q = q * math.sqrt(padded / head_dim)
    pads = (0, padded - head_dim, 0, after)
    own = [F.pad(x.detach().transpose(1, 2), pads).contiguous() for x in (q, k, v)]
    own += [F.pad(x.detach().mT, (0, after)).contiguous() for x in (igate, fgate)]

    def call() -> Tensor:
        h = kernel(*own, chunk_size=chunk_size, autocast_kernel_dtype=q.dtype)
        return h[:, :, :length, :head_dim].transpose(1, 2)

    return call, own


def simple_gla(cell: list[Tensor]) -> Operator:
    """Linear attention under a scalar decay, of the cell's shape: no input gate, no normaliser."""
    from fla.ops.simple_gla import chunk_simple_gla

    q, k, v = (x.detach().clone() for x in cell[:3])
    decay = F.logsigmoid(cell[4].detach())
    return lambda: chunk_simple_gla(q, k, v, decay)[0], [q, k, v, decay]


def rwkv6(batch: int, length: int, inner: int, **like) -> Operator:
    """RWKV-6 with heads of 64; w is the logarithm of its decay."""
    from fla.ops.rwkv6 import chunk_rwkv6

    r, k, v, w = (torch.randn(batch, length, inner // HEAD, HEAD, **like) for _ in range(4))
    w, bonus = F.logsigmoid(w), torch.randn(inner // HEAD, HEAD, **like)
    return lambda: chunk_rwkv6(r, k, v, w, bonus)[0], [r, k, v, w, bonus]


def rwkv7(batch: int, length: int, inner: int, **like) -> Operator:
    """RWKV-7 with heads of 64: a removes, b writes back along a unit vector."""
    from fla.ops.rwkv7 import chunk_rwkv7

    r, k, v, w, a = (torch.randn(batch, length, inner // HEAD, HEAD, **like) for _ in range(5))
    w, a = -0.6 * torch.sigmoid(w), F.normalize(a, dim=-1)
    b = -0.5 * a
    return lambda: chunk_rwkv7(r, w, k, v, a, b)[0], [r, w, k, v, a, b]


def mamba2(batch: int, length: int, inner: int, **like) -> Operator:
    """Mamba-2's scan with its own sizes: heads of 64, 128 states, one group, chunks of 256."""
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    heads = inner // HEAD
    x = torch.randn(batch, length, heads, HEAD, **like)
    b, c = (torch.randn(batch, length, 1, 128, **like) for _ in range(2))
    dt = torch.randn(batch, length, heads, **like)
    rate = -torch.rand(heads, device=x.device) - 0.5

    def call() -> Tensor:
        return mamba_chunk_scan_combined(x, dt, rate, b, c, chunk_size=256, dt_softplus=True)

    return call, [x, dt, b, c]
