"""Models of pictures and of exported files: that weights arrive."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.runs.build import load_model
from vil_mm.runs.reading import read_config


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_all_weights_arrive(trained, tmp_path: Path, prefix: str) -> None:
    """With the prefix, too, that DataParallel leaves."""
    cfg, path = read_config(str(trained.config)), str(tmp_path / 'w.pth')
    content = torch.load(trained.checkpoint, weights_only=False)
    saved = content['state_dict']
    torch.save(content | {'state_dict': {f'{prefix}{key}': x for key, x in saved.items()}}, path)
    loaded = load_model(cfg, path).state_dict()
    assert all(torch.equal(loaded[key], x) for key, x in saved.items())
    saved.popitem()
    torch.save(content | {'state_dict': {f'{prefix}{key}': x for key, x in saved.items()}}, path)
    with pytest.raises(CheckpointError, match='does not fit the model'):
        load_model(cfg, path)
