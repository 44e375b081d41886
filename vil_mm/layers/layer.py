"""A directed mLSTM layer: the one residual branch that Vision-LSTM is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from vil_mm.layers.drop_path import StochasticDepth
from vil_mm.layers.norm import OffsetLayerNorm
from vil_mm.layers.scan import Scan
from vil_mm.layers.traversal import ROWS, Order


class ViLLayer(nn.Module):
    """norm, up, scans with their output gate, down; plus the residual. The inner width is E = 2D.

    Args:
        dim: Channels D of the residual stream, divisible by 4.
        orders: Orders in which the grid is scanned; the results are added. ViL has one per layer.
        shared: Use one set of weights for all orders instead of one each.
        conv: Local mixing, see :class:`~vil_mm.layers.scan.Scan`.
        bias: Biases of projections and norms; convolutions and gates always have theirs.
        drop_path_rate: Probability that an image skips this layer in training.
        mlstm_backend: See :func:`vil_mm.mlstm.mlstm`.
    """

    def __init__(
        self,
        dim: int,
        orders: Sequence[Order] = (ROWS,),
        shared: bool = False,
        conv: str = 'conv2d',
        bias: bool = True,
        drop_path_rate: float = 0.0,
        mlstm_backend: str = 'auto',
    ) -> None:
        super().__init__()
        inner = 2 * dim
        self.orders = tuple(orders)
        self.norm = OffsetLayerNorm(dim, bias=bias)
        self.proj_up = nn.Linear(dim, 2 * inner, bias)
        self.scans = nn.ModuleList(
            Scan(inner, conv, bias, mlstm_backend) for _ in range(1 if shared else len(self.orders))
        )
        self.proj_down = nn.Linear(inner, dim, bias)
        self.drop_path = StochasticDepth(drop_path_rate)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The initialisation of the published models; scans reset themselves."""
        dim = self.proj_down.out_features
        nn.init.normal_(self.proj_up.weight, std=math.sqrt(2 / (5 * dim)))
        nn.init.normal_(self.proj_down.weight, std=2 / math.sqrt(dim))
        for linear in (self.proj_up, self.proj_down):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """``(B, S, D)`` to the same shape, S = Hg * Wg tokens in row-major order of ``grid``."""
        return self.drop_path(x, lambda kept: self.branch(kept, grid))

    def branch(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Everything but the residual."""
        x, z = self.proj_up(self.norm(x)).unflatten(1, grid).chunk(2, dim=-1)
        y = self.scans[0](x, z, self.orders[0])
        for index, order in enumerate(self.orders[1:], start=1):
            y = y + self.scans[index % len(self.scans)](x, z, order)
        return self.proj_down(y.flatten(1, 2))

    def extra_repr(self) -> str:
        return f'orders={self.orders}'
