"""Local mixing of tokens before queries and keys are made."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class TokenConv2d(nn.Conv2d):
    """Depthwise 3x3 convolution of a token map on its grid, zero padding, with bias.

    Args:
        channels: Channels E of the tokens.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=3, padding=1, groups=channels)

    def forward(self, x: Tensor, grid: tuple[int, int], reverse: bool = False) -> Tensor:
        """``(B, Hg * Wg, E)`` to the same shape.

        In reverse the kernel acts as on the token map read from its end, which is the grid turned
        by 180 degrees; turning the kernel instead gives the same and moves nine numbers a channel.
        """
        weight = self.weight.flip(-2, -1) if reverse else self.weight
        x = x.unflatten(1, grid).permute(0, 3, 1, 2)
        x = F.conv2d(x, weight, self.bias, padding=self.padding, groups=self.groups)
        return x.permute(0, 2, 3, 1).flatten(1, 2)
