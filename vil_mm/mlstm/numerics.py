"""Shared by the backends: directed sums and maxima, exponentials, normaliser, full precision."""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor


def full_precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Disable autocast, on devices that have it ('meta' does not)."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def cumsum(x: Tensor, reverse: bool) -> Tensor:
    """Sum of ``x`` over the last axis up to each entry, from the axis's end in reverse."""
    return x.flip(-1).cumsum(-1).flip(-1) if reverse else x.cumsum(-1)


def cummax(x: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Running maximum over the last axis and the index of the entry that set it."""
    if not reverse:
        values, indices = torch.cummax(x, -1)
        return values, indices
    values, indices = torch.cummax(x.flip(-1), -1)
    return values.flip(-1), x.shape[-1] - 1 - indices.flip(-1)


def bounded_exp_(x: Tensor) -> Tensor:
    """exp of x bounded to [lowest, 0], in place; lowest keeps the result a normal number.

    Log-weights of tokens that may be read are <= 0; those of masked tokens could overflow.
    Subnormal numbers take CPUs ten times as long.
    """
    lowest = math.log(torch.finfo(x.dtype).tiny) + 10
    return x.clamp_(lowest, 0.0).exp_()


def normalizer(b: Tensor, m: Tensor, eps: float) -> Tensor:
    """``max(|b|, exp(-m)) + eps``, shape of ``b``."""
    return torch.maximum(b.abs(), _floor(m)) + eps


def normalizer_derivative(b: Tensor, m: Tensor) -> Tensor:
    """Derivative of :func:`normalizer` by ``b`` alone.

    It is sign(b) above the floor and 0 below. At equality it is sign(b) / 2, as autograd of
    ``torch.maximum`` has it; so the backends agree there too.
    """
    return b.sign() * (1 + (b.abs() - _floor(m)).sign()) / 2


def _floor(m: Tensor) -> Tensor:
    """exp(-m), kept below the dtype's largest number.

    Beyond it h is zero to working precision either way, but an infinite floor would turn its
    gradient into NaN.
    """
    largest_exponent = 0.9 * math.log(torch.finfo(m.dtype).max)
    return m.neg().clamp(max=largest_exponent).exp()
