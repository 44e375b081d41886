"""Linear maps inside small groups of channels."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

JOINED_BLOCKS = 4


class BlockDiagonalLinear(nn.Linear):
    """Linear map with a block-diagonal matrix: blocks of 4 x 4, unrelated to the mLSTM heads.

    A ``nn.Linear``, so that tools such as LoRA find it. Its weight is (block, out, in).

    Args:
        channels: Channels E in and out, divisible by the block size.
        bias: Whether to add a learnt bias (E).
        block_size: Neighbouring channels that are mixed.
    """

    def __init__(self, channels: int, bias: bool = True, block_size: int = 4) -> None:
        nn.Module.__init__(self)  # nn.Linear would allocate a dense matrix
        self.in_features = self.out_features = channels
        if channels % block_size:
            raise ValueError(f'{channels} channels do not divide into blocks of {block_size}')
        self.weight = nn.Parameter(torch.empty(channels // block_size, block_size, block_size))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Outputs keep the variance of the inputs."""
        nn.init.normal_(self.weight, std=self.weight.shape[-1] ** -0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., E)`` to the same shape."""
        return block_diagonal(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        blocks, size, _ = self.weight.shape
        return f'blocks={blocks}, block_size={size}, bias={self.bias is not None}'


def block_diagonal(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See :class:`BlockDiagonalLinear`; weight is (block, out, in). The result has x's dtype.

    Neighbouring blocks are joined into wider ones, mostly zeros: on a CPU, products of width 16
    take a sixth of the time of those of width 4.
    """
    width = weight.shape[-1] * math.gcd(len(weight), JOINED_BLOCKS)
    matrices = _join(weight.to(x.dtype), width)
    tokens = x.reshape(-1, x.shape[-1] // width, width).transpose(0, 1)
    if bias is None:
        out = tokens @ matrices
    else:
        out = torch.baddbmm(bias.to(x.dtype).view(-1, 1, width), tokens, matrices)
    return out.transpose(0, 1).reshape(x.shape)


def _join(weight: Tensor, width: int) -> Tensor:
    """``(block, out, in)`` to ``(join, width, width)``, transposed: (in, out)."""
    joined = width // weight.shape[-1]
    blocks = rearrange(weight, '(join each) o i -> join i o each', each=joined)
    # (join, each, in, each, out), zero between two different blocks
    return torch.diag_embed(blocks, dim1=1, dim2=3).reshape(-1, width, width)
