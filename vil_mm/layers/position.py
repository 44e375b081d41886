"""Learnt position embedding of a patch grid, for grids of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CACHED_GRIDS = 8


def resize_embedding(embed: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bicubic resize of ``(1, Hg, Wg, D)`` to another grid; returns it as is if it fits.

    Without antialiasing and with half-pixel centres, as the published models do.
    """
    if tuple(embed.shape[1:3]) == tuple(grid):
        return embed
    resized = F.interpolate(embed.permute(0, 3, 1, 2), size=tuple(grid), mode='bicubic')
    return resized.permute(0, 2, 3, 1)


class PositionEmbedding(nn.Module):
    """Adds ``embed``, resized to the grid at hand, to a grid of tokens.

    Resizing is part of the graph in training. In evaluation the last few sizes are remembered until
    the parameter changes, or ``train()`` or ``eval()`` is called (writes through ``.data`` go
    unnoticed otherwise). A state dict made for another grid is resized when it is loaded.

    Args:
        grid: (Hg, Wg) of the parameter.
        dim: Channels D.
    """

    def __init__(self, grid: tuple[int, int], dim: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.empty(1, *grid, dim))
        nn.init.trunc_normal_(self.embed, std=0.02)
        self._cache: dict[tuple, Tensor] = {}
        self.register_load_state_dict_pre_hook(_resize_on_load)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, Hg, Wg, D)`` to the same shape."""
        return x + self.at(tuple(x.shape[1:3]))

    def at(self, grid: tuple[int, int]) -> Tensor:
        """The embedding ``(1, Hg, Wg, D)`` for a grid."""
        if tuple(self.embed.shape[1:3]) == grid:
            return self.embed
        evaluating = not self.training and not torch.is_grad_enabled()
        if not evaluating or torch.compiler.is_compiling() or self.embed.is_inference():
            return resize_embedding(self.embed, grid)
        return self._remembered(grid)

    def _remembered(self, grid: tuple[int, int]) -> Tensor:
        embed = self.embed
        key = (grid, embed._version, embed.data_ptr(), embed.dtype, embed.device)
        if key not in self._cache:
            if len(self._cache) >= CACHED_GRIDS:
                self._cache.clear()
            self._cache[key] = resize_embedding(embed, grid)
        return self._cache[key]

    def train(self, mode: bool = True) -> PositionEmbedding:
        self._cache.clear()
        return super().train(mode)

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_cache': {}}


def _resize_on_load(module: PositionEmbedding, state_dict: dict, prefix: str, *_) -> None:
    key = prefix + 'embed'
    stored = state_dict.get(key)
    if stored is not None and stored.dim() == 4 and stored.shape[-1] == module.embed.shape[-1]:
        grid = tuple(module.embed.shape[1:3])
        state_dict[key] = resize_embedding(stored.float(), grid).to(stored.dtype)
