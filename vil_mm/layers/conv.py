"""Local convolutions over tokens, from which queries and keys are made."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
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
        """``(B, E, Hg, Wg)`` to the same shape.

        In reverse the map is read from its end, which turns it by 180 degrees. Turning the kernel
        instead gives the same result and moves only nine numbers per channel.
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
        """``(B, E, Hg, Wg)``, a sequence in row-major order, to the same shape.

        In reverse a token sees the three after it, with the kernel turned. The sequence of a
        transposed grid is copied once, into the layout that a convolution wants anyway.
        """
        return causal_conv(x, self.weight, self.bias, reverse)


def directed(conv: nn.Module, x: Tensor, reverse: bool) -> Tensor:
    """A convolution of ``(B, E, Hg, Wg)`` in the direction of a scan.

    The classes of this file take ``reverse``. Any other module, such as an adapter around one of
    them, gets the map as the scan reads it: turned by 180 degrees in reverse.
    """
    if isinstance(conv, TokenConv2d | CausalConv1d):
        return conv(x, reverse)
    return conv(x.flip(2, 3)).flip(2, 3) if reverse else conv(x)


def token_conv(x: Tensor, weight: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    """See :class:`TokenConv2d`; weight ``(E, 1, 3, 3)``."""
    weight = weight.flip(-2, -1) if reverse else weight
    return F.conv2d(x, weight, bias, padding=1, groups=x.shape[1])


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, reverse: bool) -> Tensor:
    """See :class:`CausalConv1d`; weight ``(E, 1, 4)``."""
    rows, before = x.shape[2], CAUSAL_KERNEL - 1
    sequence = rearrange(x, 'b e h w -> b e (h w)')
    sequence = F.pad(sequence, (0, before) if reverse else (before, 0))
    weight = weight.flip(-1) if reverse else weight
    y = F.conv1d(sequence, weight, bias, groups=x.shape[1])
    return rearrange(y, 'b e (h w) -> b e h w', h=rows)
