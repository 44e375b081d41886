"""Layer norms whose scale is stored as its offset from one, as in the published weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OffsetLayerNorm(nn.Module):
    """Layer norm over the last axis with scale ``1 + weight``.

    Not a ``nn.LayerNorm``: tools that set a layer norm's weight to one would double the scale.

    Args:
        dim: Size of the last axis.
        eps: Added to the variance.
        bias: Whether to add a learnt bias.
    """

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim)`` to the same shape."""
        return F.layer_norm(x, self.weight.shape, 1 + self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f'{self.weight.numel()}, eps={self.eps}, bias={self.bias is not None}'


class HeadNorm(nn.Module):
    """Layer norm of each head of each token, then an affine map of all channels.

    Args:
        num_heads: Heads NH.
        head_dim: Channels of a head, DH.
        bias: Whether to add a learnt bias.
        eps: Added to the variance.
    """

    def __init__(self, num_heads: int, head_dim: int, bias: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(num_heads * head_dim))
        self.bias = nn.Parameter(torch.zeros(num_heads * head_dim)) if bias else None

    def forward(self, h: Tensor) -> Tensor:
        """``(..., NH, DH)`` to ``(..., NH * DH)``."""
        return head_norm(h, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f'{self.weight.numel()}, eps={self.eps}, bias={self.bias is not None}'


def head_norm(h: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """See :class:`HeadNorm`; ``weight`` is the offset of the scale from one."""
    h = F.layer_norm(h, h.shape[-1:], eps=eps).flatten(-2)
    return h * (1 + weight) if bias is None else torch.addcmul(bias, h, 1 + weight)
