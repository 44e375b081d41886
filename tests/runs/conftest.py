"""A run prepared from the tiny config, and weights for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from vil_mm.runs.reading import read_config


@pytest.fixture
def cfg(tiny_config: Path) -> Config:
    return read_config(str(tiny_config))


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file that passes for a checkpoint until somebody compares its weights."""
    torch.save(dict(state_dict=dict(a=torch.ones(1))), tmp_path / 'weights.pth')
    return str(tmp_path / 'weights.pth')
