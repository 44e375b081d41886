"""A directed mLSTM layer: the one residual branch that Vision-LSTM is made of."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm.layers.conv import TokenConv2d
from vil_mm.layers.drop_path import StochasticDepth
from vil_mm.layers.headwise import BlockDiagonalLinear
from vil_mm.layers.norm import HeadNorm, OffsetLayerNorm
from vil_mm.mlstm import mlstm
from vil_mm.mlstm.scan import full_precision

NUM_HEADS = 4


class ViLLayer(nn.Module):
    """norm, up, conv, q/k/v, mLSTM, head norm, skip, output gate, down; plus the residual.

    The inner width is E = 2D, in 4 mLSTM heads of E/4 channels. Nothing is reordered for the
    reversed direction: the convolution turns its kernel and the mLSTM reads from the end.

    Args:
        dim: Channels D of the residual stream, divisible by 4.
        reverse: Read the grid from the bottom right to the top left.
        drop_path_rate: Probability that an image skips this layer in training.
        mlstm_backend: See :func:`vil_mm.mlstm.mlstm`.
    """

    def __init__(
        self,
        dim: int,
        reverse: bool = False,
        drop_path_rate: float = 0.0,
        mlstm_backend: str = 'auto',
    ) -> None:
        super().__init__()
        inner = 2 * dim
        self.reverse = reverse
        self.mlstm_backend = mlstm_backend
        self.norm = OffsetLayerNorm(dim)
        self.proj_up = nn.Linear(dim, 2 * inner)
        self.conv = TokenConv2d(inner)
        self.q_proj = BlockDiagonalLinear(inner)
        self.k_proj = BlockDiagonalLinear(inner)
        self.v_proj = BlockDiagonalLinear(inner)
        self.igate = nn.Linear(3 * inner, NUM_HEADS)
        self.fgate = nn.Linear(3 * inner, NUM_HEADS)
        self.head_norm = HeadNorm(NUM_HEADS, inner // NUM_HEADS)
        self.skip = nn.Parameter(torch.ones(inner))
        self.proj_down = nn.Linear(inner, dim)
        self.drop_path = StochasticDepth(drop_path_rate)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The initialisation that the published models were trained from."""
        dim = self.proj_down.out_features
        for linear in (self.proj_up, self.q_proj, self.k_proj, self.v_proj):
            nn.init.normal_(linear.weight, std=math.sqrt(2 / (5 * dim)))
            nn.init.zeros_(linear.bias)
        nn.init.normal_(self.proj_down.weight, std=2 / math.sqrt(dim))
        nn.init.zeros_(self.proj_down.bias)
        nn.init.zeros_(self.igate.weight)
        nn.init.normal_(self.igate.bias, std=0.1)
        nn.init.zeros_(self.fgate.weight)
        with torch.no_grad():
            self.fgate.bias.copy_(torch.linspace(3, 6, NUM_HEADS))

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """``(B, S, D)`` to the same shape, S = Hg * Wg tokens in row-major order of ``grid``."""
        return self.drop_path(x, lambda kept: self.branch(kept, grid))

    def branch(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Everything but the residual."""
        x, z = self.proj_up(self.norm(x)).chunk(2, dim=-1)
        a = F.silu(self.conv(x, grid, self.reverse))
        q, k, v = self.q_proj(a), self.k_proj(a), self.v_proj(x)
        igate, fgate = self.gates(q, k, v)
        q, k, v = (y.unflatten(-1, (NUM_HEADS, -1)) for y in (q, k, v))
        h = mlstm(q, k, v, igate, fgate, reverse=self.reverse, backend=self.mlstm_backend)
        y = self.head_norm(h) + self.skip * a
        return self.proj_down(y * F.silu(z))

    def gates(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Input and forget gate pre-activations ``(B, S, NH)``, in float32 at least.

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
        return f'reverse={self.reverse}, mlstm_backend={self.mlstm_backend!r}'
