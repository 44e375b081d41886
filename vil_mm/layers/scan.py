"""One pass over the token grid in a given order, the part of a layer that knows a direction."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm.layers.conv import CausalConv1d, TokenConv2d
from vil_mm.layers.headwise import BlockDiagonalLinear
from vil_mm.layers.norm import HeadNorm
from vil_mm.layers.traversal import Order
from vil_mm.mlstm import mlstm
from vil_mm.mlstm.numerics import full_precision

NUM_HEADS = 4
CONVS = {'conv2d': TokenConv2d, 'causal_conv1d': CausalConv1d}


class Scan(nn.Module):
    """conv, q/k/v, gates, mLSTM, head norm and skip, in a given order over the grid.

    Nothing is reordered for a reversed direction: the convolution turns its kernel and the mLSTM
    reads from the end. A scan by columns sees the transposed grid, which is a view.

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

    def forward(self, x: Tensor, order: Order) -> Tensor:
        """``(B, Hg, Wg, E)`` to the same shape."""
        if order.columns:
            return self.by_rows(x.transpose(1, 2), order.reverse).transpose(1, 2)
        return self.by_rows(x, order.reverse)

    def by_rows(self, x: Tensor, reverse: bool) -> Tensor:
        """The scan of a grid ``(B, Hg, Wg, E)`` along its rows."""
        a = F.silu(self.conv(x, reverse))
        q, k, v = self.q_proj(a), self.k_proj(a), self.v_proj(x)
        igate, fgate = self.gates(q, k, v)
        q, k, v = (y.unflatten(-1, (NUM_HEADS, -1)) for y in (q, k, v))
        h = mlstm(q, k, v, igate, fgate, reverse=reverse, backend=self.mlstm_backend)
        return self.head_norm(h) + self.skip * a

    def gates(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Input and forget gate pre-activations ``(..., NH)``, in float32 at least.

        Linear in the concatenation of q, k (unscaled) and v, which is never built: it is the sum of
        three products. They leave autocast because the input gate is exponentiated.
        """
        with full_precision(q.device):
            dtype = torch.promote_types(q.dtype, torch.float32)
            weight = torch.cat([self.igate.weight, self.fgate.weight]).to(dtype)
            bias = torch.cat([self.igate.bias, self.fgate.bias]).to(dtype)
            of_q, of_k, of_v = weight.chunk(3, dim=1)
            gates = F.linear(q.to(dtype), of_q, bias)
            gates = gates + F.linear(k.to(dtype), of_k) + F.linear(v.to(dtype), of_v)
        igate, fgate = gates.chunk(2, dim=-1)
        return igate, fgate

    def extra_repr(self) -> str:
        return f'mlstm_backend={self.mlstm_backend!r}'
