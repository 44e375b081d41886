"""Local mixing of tokens before queries and keys are made."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

CAUSAL_KERNEL = 4


class TokenConv2d(nn.Conv2d):
    """Depthwise 3x3 convolution of a token map, zero padding, with bias (version 2).

    Args:
        channels: Channels E of the tokens.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=3, padding=1, groups=channels)

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        """``(B, Hg, Wg, E)`` to the same shape.

        In reverse the kernel acts as on the token map read from its end, which is the grid turned
        by 180 degrees; turning the kernel instead gives the same and moves nine numbers a channel.
        """
        return token_conv(x, self.weight, self.bias, reverse)


class CausalConv1d(nn.Conv1d):
    """Depthwise convolution of a token and the three before it in the sequence (version 1).

    Args:
        channels: Channels E of the tokens.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=CAUSAL_KERNEL, groups=channels)

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        """``(B, Hg, Wg, E)``, a sequence in row-major order, to the same shape.

        In reverse a token sees the three after it, with the kernel turned. Of a transposed grid the
        sequence is copied once, into the channels-first layout that a convolution wants anyway.
        """
        return causal_conv(x, self.weight, self.bias, reverse)


def token_conv(x: Tensor, weight: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    """See :class:`TokenConv2d`; weight ``(E, 1, 3, 3)``."""
    weight = weight.flip(-2, -1) if reverse else weight
    x = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=x.shape[-1])
    return x.permute(0, 2, 3, 1)


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    """See :class:`CausalConv1d`; weight ``(E, 1, 4)``."""
    grid, channels = x.shape[1:3], x.shape[-1]
    before = CAUSAL_KERNEL - 1
    x = F.pad(x.permute(0, 3, 1, 2).flatten(2), (0, before) if reverse else (before, 0))
    weight = weight.flip(-1) if reverse else weight
    x = F.conv1d(x, weight, bias, groups=channels)
    return x.unflatten(2, grid).permute(0, 2, 3, 1)
