from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import nn

import vil_mm

CONFIGS = {
    path.relative_to(vil_mm.CONFIG_DIR).as_posix(): path
    for path in sorted(vil_mm.CONFIG_DIR.rglob('*.py'))
    if '_base_' not in path.parts
}
TOP = {
    *(f'upernet_vil_{size}_512x512_ade20k.py' for size in 'tsb'),
    *('upernet_vil_t_drawn.py', 'upernet_vil_t_camvid.py', 'upernet_vil_t_camvid_cpu.py'),
}


def load(name: str) -> Config:
    return Config.fromfile(vil_mm.CONFIG_DIR / name)


def build(cfg: Config) -> nn.Module:
    register_all_modules(init_default_scope=True)
    return MODELS.build(cfg.model)


def test_the_runs_of_the_readme_lie_on_top_and_all_others_in_families() -> None:
    assert {name for name in CONFIGS if '/' not in name} == TOP
    folders = {path.parent for path in CONFIGS.values()}
    assert all((folder / 'README.md').is_file() for folder in folders)
    assert all((folder / 'metafile.yml').is_file() for folder in folders)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_opens_with_its_command(name: str) -> None:
    comment = re.sub(r' \\\n#\s+', ' ', CONFIGS[name].read_text().split('_base_ =')[0])
    cfg = load(name)
    assert 'vil_mm' in cfg.custom_imports.imports
    if cfg.get('train_cfg') is None:  # for evaluation only
        assert f'python tools/test.py configs/{name}' in comment
        return
    assert re.search(rf'tools/(train\.py|dist_train\.sh) configs/{name}', comment)
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0


def test_taps_become_a_pyramid() -> None:
    model = build(load('upernet_vil_t_512x512_ade20k.py')).eval()
    with torch.no_grad():
        levels = model.extract_feat(torch.randn(1, 3, 64, 128))
    assert [level.shape for level in levels] == [
        (1, 192, 16, 32),
        (1, 192, 8, 16),
        (1, 192, 4, 8),
        (1, 192, 2, 4),
    ]


@pytest.mark.parametrize(
    'path', sorted(vil_mm.CONFIG_DIR.rglob('*.py')), ids=lambda path: path.stem
)
def test_no_step_is_changed_by_its_number(path: Path) -> None:
    """A step put before it would shift the change to another one, without a word."""
    assert not re.search(r'\[\d+\](\.update\(|\[[^\]]+\] = |\.\w+ = )', path.read_text())


def test_evaluation_at_odd_sizes_is_not_skewed() -> None:
    """What mmseg predicts is the prediction for the padded image, cut back to the image."""
    torch.manual_seed(0)
    model = build(load('upernet_vil_t_drawn.py')).eval()
    image = torch.randint(256, (3, 120, 100), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(img_shape=(120, 100), ori_shape=(120, 100)))
    predicted = model.test_step({'inputs': [image], 'data_samples': [sample]})[0]

    mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
    padded = nn.functional.pad((image.flip(0) - mean) / std, (0, 12, 0, 8)).unsqueeze(0)
    with torch.no_grad():
        logits = model.decode_head(model.extract_feat(padded))
    by_hand = nn.functional.interpolate(logits, (128, 112), mode='bilinear')[0, :, :120, :100]
    torch.testing.assert_close(predicted.seg_logits.data, by_hand, rtol=1e-4, atol=1e-4)
