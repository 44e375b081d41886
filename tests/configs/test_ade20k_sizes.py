"""Numbers that stand in several places of a config with protocols agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from vil_mm import CONFIG_DIR

CONFIGS = sorted(str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob('*ade20k.py'))
CONFIGS = [name for name in CONFIGS if not name.startswith('_base_')]


@pytest.mark.parametrize('name', CONFIGS)
def test_sizes_and_pipelines_agree(name: str) -> None:
    cfg = Config.fromfile(Path(CONFIG_DIR, name))
    steps = {entry.type: entry for entry in cfg.train_dataloader.dataset.pipeline}
    width, height = re.search(r'_(\d+)x(\d+)_', name).groups()
    size = (int(height), int(width))
    assert steps['RandomCrop'].crop_size == size
    assert steps['CenteredPad'].size == size
    assert steps['CenteredPad'].mean == cfg.model.data_preprocessor.mean
    assert cfg.model.data_preprocessor.size == size
    assert steps['RandomResize'].scale == (4 * size[0], size[0])
    assert cfg.protocols.official.test_pipeline[1].scale == size
    assert cfg.protocols.community.test_pipeline[1].scale == (4 * size[0], size[0])
    assert tuple(cfg.model.test_cfg.crop_size) == size
    assert cfg.val_dataloader.dataset.pipeline == cfg.protocols.official.test_pipeline
    assert cfg.test_dataloader.dataset.pipeline == cfg.protocols.official.test_pipeline


@pytest.mark.parametrize('name', [name for name in CONFIGS if re.search('640x|1024x', name)])
def test_larger_crops_change_sizes_alone(name: str) -> None:
    cfg = Config.fromfile(Path(CONFIG_DIR, name))
    size = re.search('vil_([tsb])_', name)[1]
    usual = Config.fromfile(CONFIG_DIR / f'upernet_vil_{size}_512x512_ade20k.py')
    for part in ('decode_head', 'auxiliary_head', 'neck'):
        assert cfg.model[part] == usual.model[part]
    assert cfg.optim_wrapper == usual.optim_wrapper
    assert cfg.model.backbone.img_size == cfg.model.data_preprocessor.size[0]
    assert '512' not in str(cfg.train_dataloader)
