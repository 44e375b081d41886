"""Devices that a model can be on."""

from __future__ import annotations

import torch


def check_device(device: str) -> None:
    """Fail in one line if a device is asked for that is not there.

    Raises:
        ValueError: It is no device's name, or of CUDA and there is no such GPU.
    """
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'--device {device}: expected cpu, cuda, cuda:1, mps, ...') from error
    if asked.type == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'--device {device}: PyTorch finds no GPU here; take --device cpu')
    if asked.type == 'cuda' and (asked.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f'--device {device}: the GPUs here are numbered 0 to {count - 1}')


def find_device() -> str:
    """'cuda' where PyTorch finds a GPU, else 'cpu'."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'
