"""Choose and check devices."""

from __future__ import annotations

import torch

from vil_mm.errors import ArgumentError


def check_device(device: str) -> None:
    """Fail if a device does not exist.

    Raises:
        ValueError: The name is unknown, or there is no such GPU.
    """
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise ArgumentError('expected cpu, cuda, cuda:1, mps, ...', device=device) from error
    if asked.type == 'cuda' and not torch.cuda.is_available():
        raise ArgumentError('PyTorch finds no GPU here; use cpu', device=device)
    if asked.type == 'cuda' and (asked.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ArgumentError(f'the GPUs here are numbered 0 to {count - 1}', device=device)


def find_device() -> str:
    """'cuda' if PyTorch finds a GPU, else 'cpu'."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'
