"""One pass over the token grid in a given order: the part of a layer that has a direction."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from vil_mm.layers.conv import CausalConv1d, TokenConv2d, directed
from vil_mm.layers.fused.scan import NUM_HEADS, altered_module, can_fuse, fused_scan
from vil_mm.layers.gates import GateLinear, gates
from vil_mm.layers.headwise import BlockDiagonalLinear
from vil_mm.layers.native.op import native_scan
from vil_mm.layers.native.scan import find_weights
from vil_mm.layers.norm import HeadNorm
from vil_mm.layers.traversal import Order
from vil_mm.mlstm import BACKENDS, mlstm

SCAN_BACKENDS = (*BACKENDS, 'native')
CONVS = {'conv2d': TokenConv2d, 'causal_conv1d': CausalConv1d}


class Scan(nn.Module):
    """conv, q/k/v, gates, mLSTM, head norm, skip and output gate, in a given order over the grid.

    Nothing is reordered for a reversed direction: the convolution turns its kernel and the mLSTM
    reads from the end. A scan by columns sees the transposed grid, which is a view.

    Submodules are called, so each may be hooked, wrapped or replaced. Only if none was altered,
    :func:`~vil_mm.layers.fused.scan.fused_scan` on a GPU or
    :func:`~vil_mm.layers.native.op.native_scan` on a CPU computes the same from their weights. A
    module that replaces ``conv`` maps ``(B, E, Hg, Wg)`` to the same shape.

    Args:
        channels: Inner channels E of a layer, in 4 mLSTM heads of E/4.
        conv: 'conv2d' (version 2) or 'causal_conv1d' (version 1).
        bias: Biases of q, k, v and of the head norm (version 2).
        mlstm_backend: See :func:`vil_mm.mlstm.mlstm`, or 'native': the scan in C++, on a CPU.
    """

    def __init__(
        self, channels: int, conv: str = 'conv2d', bias: bool = True, mlstm_backend: str = 'auto'
    ) -> None:
        super().__init__()
        self.mlstm_backend = mlstm_backend
        self.conv = CONVS[conv](channels)
        self.q_proj = BlockDiagonalLinear(channels, bias)
        self.k_proj = BlockDiagonalLinear(channels, bias)
        self.v_proj = BlockDiagonalLinear(channels, bias)
        self.igate = GateLinear(3 * channels, NUM_HEADS)
        self.fgate = GateLinear(3 * channels, NUM_HEADS)
        self.head_norm = HeadNorm(NUM_HEADS, channels // NUM_HEADS, bias)
        self.skip = nn.Parameter(torch.ones(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The initialisation that the published models were trained from."""
        dim = self.skip.numel() / 2
        for linear in (self.q_proj, self.k_proj, self.v_proj):
            nn.init.normal_(linear.weight, std=math.sqrt(2 / (5 * dim)))
        nn.init.zeros_(self.igate.weight)
        nn.init.normal_(self.igate.bias, std=0.1)
        nn.init.zeros_(self.fgate.weight)
        with torch.no_grad():
            self.fgate.bias.copy_(torch.linspace(3, 6, NUM_HEADS))

    def forward(self, x: Tensor, z: Tensor, order: Order) -> Tensor:
        """Scan x under the output gate z, both ``(B, Hg, Wg, E)``, to the same shape."""
        if order.columns:
            x, z = x.transpose(1, 2), z.transpose(1, 2)
            return self.by_rows(x, z, order.reverse).transpose(1, 2)
        return self.by_rows(x, z, order.reverse)

    def by_rows(self, x: Tensor, z: Tensor, reverse: bool) -> Tensor:
        """The scan of a grid ``(B, Hg, Wg, E)`` along its rows."""
        if can_fuse(self, x):
            return fused_scan(self, x, z, reverse)
        weights = find_weights(self, x)
        if weights is not None:
            return native_scan(self, x, z, weights, reverse)
        x = x.contiguous()  # once here, or oneDNN's convolution takes twice as long
        in_place = self.may_overwrite()
        a = F.silu(self.convolve(x, reverse), inplace=in_place)
        q, k, v = self.q_proj(a), self.k_proj(a), self.v_proj(x)
        igate, fgate = gates(self.igate, self.fgate, q, k, v)
        q, k, v = (y.unflatten(-1, (NUM_HEADS, -1)) for y in (q, k, v))
        h = mlstm(q, k, v, igate, fgate, reverse=reverse, backend=self.plain_backend)
        y = self.head_norm(h)
        y = y.addcmul_(self.skip, a) if in_place else torch.addcmul(y, self.skip, a)
        return y.mul_(F.silu(z)).to(z.dtype)

    @property
    def plain_backend(self) -> str:
        """Of the mLSTM where the scan does not run as one operator."""
        return 'auto' if self.mlstm_backend == 'native' else self.mlstm_backend

    def may_overwrite(self) -> bool:
        """Whether results of modules may be overwritten, which saves a CPU page faults.

        Not if a hook or autograd may keep them, nor in a trace, which is checked without gradients.
        """
        recorded = torch.is_grad_enabled() or torch.jit.is_tracing()
        return not recorded and altered_module(self) is None

    def convolve(self, x: Tensor, reverse: bool) -> Tensor:
        """``(B, Hg, Wg, E)`` to the same shape, by ``conv``, which takes ``(B, E, Hg, Wg)``."""
        y = directed(self.conv, rearrange(x, 'b h w e -> b e h w'), reverse)
        return rearrange(y, 'b e h w -> b h w e')

    def extra_repr(self) -> str:
        return f'mlstm_backend={self.mlstm_backend!r}'
