"""Numbers that stand in several places of a config with protocols agree."""

from __future__ import annotations

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
    size = tuple(steps['RandomCrop'].crop_size)
    assert steps['CenteredPad'].size == size
    assert steps['CenteredPad'].mean == cfg.model.data_preprocessor.mean
    assert cfg.model.data_preprocessor.size == size
    assert steps['RandomResize'].scale == (4 * size[0], size[0])
    assert cfg.protocols.official.test_pipeline[1].scale == size
    assert cfg.protocols.community.test_pipeline[1].scale == (4 * size[0], size[0])
    assert tuple(cfg.model.test_cfg.crop_size) == size
    assert cfg.val_dataloader.dataset.pipeline == cfg.protocols.official.test_pipeline
    assert cfg.test_dataloader.dataset.pipeline == cfg.protocols.official.test_pipeline


def test_the_recipes_are_among_them() -> None:
    assert {f'upernet_vil_{size}_512x512_ade20k.py' for size in 'tsb'} <= set(CONFIGS)
