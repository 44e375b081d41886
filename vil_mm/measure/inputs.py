"""Inputs for measuring a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vil_mm.errors import first_line
from vil_mm.models.inspection import count_channels


def make_noise(model: nn.Module, shape: tuple[int, int], batch_size: int, device: str) -> Tensor:
    """Normal noise ``(B, C, H, W)``, like normalised images."""
    return torch.randn(batch_size, count_channels(model), *shape, device=device)


@contextmanager
def name_size(shape: tuple[int, int]) -> Iterator[None]:
    """Turn an error of the model inside into one line that names the image size.

    Raises:
        ValueError: In place of errors raised inside, except out-of-memory errors.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f'the model does not run at {shape[0]} x {shape[1]}: {first_line(error)}'
        ) from error
