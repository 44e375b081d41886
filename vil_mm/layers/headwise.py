"""Linear maps inside small groups of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BlockDiagonalLinear(nn.Module):
    """Linear map whose matrix has blocks of 4 x 4 on its diagonal and nothing elsewhere.

    The number of blocks has nothing to do with the number of mLSTM heads.

    Args:
        channels: Channels E in and out, divisible by the block size.
        bias: Whether to add a learnt bias (E).
        block_size: Neighbouring channels that are mixed.
    """

    def __init__(self, channels: int, bias: bool = True, block_size: int = 4) -> None:
        super().__init__()
        if channels % block_size:
            raise ValueError(f'{channels} channels do not divide into blocks of {block_size}')
        self.weight = nn.Parameter(torch.empty(channels // block_size, block_size, block_size))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        nn.init.normal_(self.weight, std=block_size**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., E)`` to the same shape; weight is (block, out, in).

        Under autocast the product is in half precision and the bias lifts it to float32, in which
        gates and mLSTM go on.
        """
        blocks = x.unflatten(-1, self.weight.shape[:2])
        out = torch.einsum('...gi,goi->...go', blocks, self.weight).flatten(-2)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        blocks, size, _ = self.weight.shape
        return f'blocks={blocks}, block_size={size}, bias={self.bias is not None}'
