"""One pass over the token grid in a given order, the part of a layer that knows a direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vil_mm.layers.conv import CausalConv1d, TokenConv2d
from vil_mm.layers.gate import norm_skip_gate
from vil_mm.layers.headwise import BlockDiagonalLinear
from vil_mm.layers.mix import Mixed, local_mix
from vil_mm.layers.norm import HeadNorm
from vil_mm.layers.traversal import Order
from vil_mm.layers.triton import gate, mix  # noqa: F401  registers operators that files may hold
from vil_mm.mlstm import mlstm
from vil_mm.mlstm.triton.runtime import why_not

NUM_HEADS = 4
CONVS = {'conv2d': TokenConv2d, 'causal_conv1d': CausalConv1d}


class Scan(nn.Module):
    """conv, q/k/v, gates, mLSTM, head norm, skip and output gate, in a given order over the grid.

    Three steps, each one fused operator where Triton can run: :func:`~vil_mm.layers.mix.local_mix`,
    :func:`vil_mm.mlstm.mlstm` and :func:`~vil_mm.layers.gate.norm_skip_gate`. Nothing is reordered
    for a reversed direction: the convolution turns its kernel and the mLSTM reads from the end. A
    scan by columns sees the transposed grid, which is a view.

    Args:
        channels: Inner channels E of a layer, in 4 mLSTM heads of E/4.
        conv: 'conv2d' (version 2) or 'causal_conv1d' (version 1).
        bias: Biases of q, k, v and of the head norm (version 2).
        mlstm_backend: See :func:`vil_mm.mlstm.mlstm`.
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
        self.igate = nn.Linear(3 * channels, NUM_HEADS)
        self.fgate = nn.Linear(3 * channels, NUM_HEADS)
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
        """x, what is scanned, and z, the output gate, ``(B, Hg, Wg, E)``, to the same shape."""
        if order.columns:
            x, z = x.transpose(1, 2), z.transpose(1, 2)
            return self.by_rows(x, z, order.reverse).transpose(1, 2)
        return self.by_rows(x, z, order.reverse)

    def by_rows(self, x: Tensor, z: Tensor, reverse: bool) -> Tensor:
        """The scan of a grid ``(B, Hg, Wg, E)`` along its rows."""
        fused = self.fuses(x)
        mixed = self.mix(x, reverse, fused)
        q, k, v = (y.unflatten(-1, (NUM_HEADS, -1)) for y in (mixed.q, mixed.k, mixed.v))
        igate, fgate = mixed.gates.chunk(2, dim=-1)
        h = mlstm(q, k, v, igate, fgate, reverse=reverse, backend=self.mlstm_backend)
        norm = self.head_norm
        return norm_skip_gate(
            h, mixed.a, z, norm.weight, norm.bias, self.skip, eps=norm.eps, fused=fused
        )

    def fuses(self, x: Tensor) -> bool:
        """Whether fused kernels make what surrounds the mLSTM; they want heads of 16 channels."""
        wanted = self.mlstm_backend == 'triton' or (self.mlstm_backend == 'auto' and x.is_cuda)
        return wanted and x.shape[-1] % (16 * NUM_HEADS) == 0 and why_not(x) is None

    def mix(self, x: Tensor, reverse: bool, fused: bool) -> Mixed:
        """See :func:`vil_mm.layers.mix.local_mix`."""
        return local_mix(
            x,
            self.conv.weight,
            self.conv.bias,
            self.q_proj.weight,
            self.q_proj.bias,
            self.k_proj.weight,
            self.k_proj.bias,
            self.v_proj.weight,
            self.v_proj.bias,
            torch.cat([self.igate.weight, self.fgate.weight]),
            torch.cat([self.igate.bias, self.fgate.bias]),
            reverse=reverse,
            fused=fused,
        )

    def extra_repr(self) -> str:
        return f'mlstm_backend={self.mlstm_backend!r}'
