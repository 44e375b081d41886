"""A block: two layers that read the grid in opposite directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vil_mm.layers.layer import ViLLayer


class ViLBlock(nn.Module):
    """Layers that alternate: top-left to bottom-right first, then bottom-right to top-left.

    Args:
        dim: Channels D of the residual stream.
        drop_path_rates: One rate a layer; their number is the number of layers (2, or 1 for the
            last block of a network with an odd number of layers).
        with_cp: Keep only each layer's input in training and recompute the rest in the backward
            pass (activation checkpointing): less memory for about a third more time.
        mlstm_backend: See :func:`vil_mm.mlstm.mlstm`.
    """

    def __init__(
        self,
        dim: int,
        drop_path_rates: Sequence[float] = (0.0, 0.0),
        with_cp: bool = False,
        mlstm_backend: str = 'auto',
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.layers = nn.ModuleList(
            ViLLayer(dim, reverse=bool(index % 2), drop_path_rate=rate, mlstm_backend=mlstm_backend)
            for index, rate in enumerate(drop_path_rates)
        )

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """``(B, Hg * Wg, D)`` to the same shape; ``grid`` is (Hg, Wg)."""
        recompute = self.with_cp and torch.is_grad_enabled()
        for layer in self.layers:
            x = checkpoint(layer, x, grid, use_reentrant=False) if recompute else layer(x, grid)
        return x
