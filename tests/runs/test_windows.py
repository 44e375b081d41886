"""`tools/test.py --tiled`: what it makes of a config, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from vil_mm.runs.launch import prepare_testing
from vil_mm.runs.reading import read_config
from vil_mm.runs.windows import find_training_size


@pytest.fixture
def cfg(tiny_config: Path) -> Config:
    cfg = read_config(str(tiny_config))
    cfg.model.test_cfg = dict(mode='slide', crop_size=(64, 64), stride=(43, 43))
    return cfg


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.save({'state_dict': {'a': torch.ones(1)}}, tmp_path / 'w.pth')
    return str(tmp_path / 'w.pth')


def test_windows_stay(cfg, weights) -> None:
    prepare_testing(cfg, weights, tiled=True)
    assert cfg.model.type == 'TiledEncoderDecoder'
    assert cfg.model.test_cfg == dict(mode='tiled', crop_size=(64, 64), stride=(43, 43))


def test_a_config_without_windows(cfg, weights) -> None:
    cfg.model.test_cfg = dict(mode='whole')
    with pytest.raises(ValueError, match='has no crop_size and stride') as error:
        prepare_testing(cfg, weights, tiled=True)
    proposed = 'model.test_cfg.crop_size=64,64 model.test_cfg.stride=43,43'  # crops of the training
    assert str(error.value).endswith(proposed)


@pytest.mark.parametrize(
    ('name', 'sides'),
    [
        ('upernet_vil_s_1024x1024_cityscapes_whole', '1024,1024'),
        ('upernet_vil_s_769x769_cityscapes_whole', '769,769'),
        ('upernet_vil_t_camvid', '320,320'),
        ('upernet_vil_t_drawn', '128,128'),
    ],
)
def test_windows_of_the_training(name: str, sides: str) -> None:
    cfg = read_config(name, options={'model.test_cfg': {'_delete_': True, 'mode': 'whole'}})
    assert ','.join(map(str, find_training_size(cfg))) == sides


def test_another_segmentor(cfg, weights) -> None:
    cfg.model.type = 'CascadeEncoderDecoder'
    with pytest.raises(ValueError, match='not CascadeEncoderDecoder'):
        prepare_testing(cfg, weights, tiled=True)


def test_passes_are_not_added_up(cfg, weights) -> None:
    cfg.tta_pipeline = [dict(type='LoadImageFromFile')]
    with pytest.raises(ValueError, match='does not keep'):
        prepare_testing(cfg, weights, tiled=True, tta=True)
