"""A block: two layers, in ViL one of each direction."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vil_mm.layers.layer import ViLLayer


class ViLBlock(nn.Module):
    """Layers that follow each other.

    Args:
        layers: Two of them, or one in the last block of a network with an odd number of layers.
        with_cp: Keep only each layer's input in training and recompute the rest in the backward
            pass (activation checkpointing): less memory for about a third more time.
    """

    def __init__(self, layers: Iterable[ViLLayer], with_cp: bool = False) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """``(B, Hg * Wg, D)`` to the same shape; ``grid`` is (Hg, Wg)."""
        recompute = self.with_cp and torch.is_grad_enabled()
        for layer in self.layers:
            x = checkpoint(layer, x, grid, use_reentrant=False) if recompute else layer(x, grid)
        return x
