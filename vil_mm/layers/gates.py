"""Pre-activations of the mLSTM's gates, read from queries, keys and values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm.layers.plain import altered
from vil_mm.mlstm.numerics import full_precision


class GateLinear(nn.Linear):
    """Linear map of concatenated q, k and v to one number per head, in at least float32.

    It runs outside autocast because the input gate is exponentiated.
    """

    def forward(self, *parts: Tensor) -> Tensor:
        """``(..., 3E)``, or q, k and v ``(..., E)``, to ``(..., NH)``."""
        return gate_product(parts, self.weight, self.bias)


def gates(igate: nn.Module, fgate: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Sequence[Tensor]:
    """Input and forget gates ``(..., NH)`` of q, k and v ``(..., E)``.

    One product computes both unless a module was altered: two take a CPU twice as long. A module
    that replaces one of them gets q, k and v concatenated.
    """
    both = (igate, fgate)
    if not any(altered(gate, GateLinear) for gate in both):
        weight, bias = (torch.cat([getattr(x, name) for x in both]) for name in ('weight', 'bias'))
        return gate_product((q, k, v), weight, bias).chunk(2, dim=-1)
    return [
        gate(q, k, v) if isinstance(gate, GateLinear) else gate(torch.cat([q, k, v], dim=-1))
        for gate in both
    ]


def gate_product(parts: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """See :class:`GateLinear`; one product per part, because concatenating them is a copy."""
    with full_precision(weight.device):
        dtype = torch.promote_types(parts[0].dtype, weight.dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        first, *others = (x.to(dtype) for x in parts)
        weight, *weights = weight.to(dtype).split([x.shape[-1] for x in parts], dim=1)
        total = F.linear(first, weight, bias.to(dtype))
        for x, weight in zip(others, weights, strict=True):
            total = total.add_(F.linear(x, weight))
        return total
