"""Stochastic depth with an exact number of dropped images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Residual connection whose branch some images of a training batch skip.

    The branch is computed for ``max(floor(n * keep), 1)`` random ones of n images, and scaled by n
    over their number. If that share is more than 0.01 below ``keep`` (small batches), each image is
    dropped independently with probability ``rate`` instead.

    Args:
        rate: Share of images that skip the branch, 0 <= rate < 1.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f'a drop path rate must be at least 0 and below 1, got {rate}')
        self.rate = rate

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """``x + branch(x)``; in training, branch sees a part of the batch ``(B, ...)``."""
        if not self.training or self.rate == 0:
            return x + branch(x)
        images, keep = x.shape[0], 1 - self.rate
        kept = max(math.floor(images * keep + 1e-6), 1)
        if keep - kept / images > 0.01:
            mask = x.new_empty(images, *[1] * (x.dim() - 1)).bernoulli_(keep)
            return x + branch(x) * (mask / keep)
        index = torch.randperm(images, device=x.device)[:kept]
        residual = branch(x[index]) * (images / kept)
        return x.index_add(0, index, residual.to(x.dtype))

    def extra_repr(self) -> str:
        return f'rate={self.rate:.4g}'
