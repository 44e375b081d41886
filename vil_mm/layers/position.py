"""Learnt position embedding of a patch grid, for grids of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def resize_embedding(embed: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bicubic resize of ``(1, Hg, Wg, D)`` to another grid; returns it as is if it fits.

    Without antialiasing and with half-pixel centres, as the published models do.
    """
    if tuple(embed.shape[1:3]) == tuple(grid):
        return embed
    maps = rearrange(embed, 'b h w d -> b d h w')
    resized = F.interpolate(maps, size=tuple(grid), mode='bicubic')
    return rearrange(resized, 'b d h w -> b h w d')


class PositionEmbedding(nn.Module):
    """Adds ``embed``, resized to their grid, to the tokens.

    The resize runs at every call (0.4 % of a forward pass of ViL-T), so that no cache can go stale.
    A state dict made for another grid is resized when it is loaded.

    Args:
        grid: (Hg, Wg) of the parameter.
        dim: Channels D.
    """

    def __init__(self, grid: tuple[int, int], dim: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.empty(1, *grid, dim))
        nn.init.trunc_normal_(self.embed, std=0.02)
        self.register_load_state_dict_pre_hook(_resize_on_load)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, Hg, Wg, D)`` to the same shape."""
        return x + self.at(tuple(x.shape[1:3]))

    def at(self, grid: tuple[int, int]) -> Tensor:
        """The embedding ``(1, Hg, Wg, D)`` for a grid."""
        return resize_embedding(self.embed, grid)


def _resize_on_load(module: PositionEmbedding, state_dict: dict, prefix: str, *_) -> None:
    key = prefix + 'embed'
    stored = state_dict.get(key)
    shape = () if stored is None else stored.shape
    if len(shape) == 4 and 0 not in shape and shape[-1] == module.embed.shape[-1]:
        grid = tuple(module.embed.shape[1:3])
        state_dict[key] = resize_embedding(stored.float(), grid).to(stored.dtype)
