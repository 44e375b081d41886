"""Every published file, simulated: all ways to load it give the features of direct assembly."""

from __future__ import annotations

from pathlib import Path

import mmseg.models  # noqa: F401  registers UperNet
import published
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from vil_mm import CONFIG_DIR
from vil_mm.checkpoints.conversion import convert_checkpoint
from vil_mm.models import VisionLSTM

ADE20K = 'upernet_vil_{}_512x512_ade20k.py'
LETTERS = {192: 't', 384: 's', 768: 'b'}
FULL = ('vil2-tiny', 'vil-tiny', 'vil-tinyplus-stride8')  # the others take long, or are alike
CASES = [pytest.param(name, True, id=name) for name in FULL]
for name in [name for name in published.HUB if name not in FULL]:
    CASES.append(pytest.param(name, False, id=f'{name}, narrow'))
    CASES.append(pytest.param(name, True, id=name, marks=pytest.mark.slow))


@pytest.mark.parametrize(('name', 'full_width'), CASES)
def test_all_ways_give_the_same_features(tmp_path, name: str, full_width: bool) -> None:
    row = published.HUB[name]
    dim = row.dim if full_width else 16
    raw = published.raw_weights(row.version, dim, row.layers)
    official = published.write_published(tmp_path / row.file, raw)
    done = convert_checkpoint(official, tmp_path / 'converted.pth')
    converted = tmp_path / 'converted.pth'
    if full_width:
        assert done.num_parameters == row.parameters
        assert done.backbone['arch'] in ('tiny', 'tiny+', 'small', 'small+', 'base')
    options = {**done.backbone, 'stride': row.stride}
    check_classifier(raw, official, converted, options, done.head)
    with DefaultScope.overwrite_default_scope('mmseg'):
        check_segmentor(raw, official, converted, {**options, 'img_size': 512}, row, dim)


def check_classifier(
    raw: published.State, official: Path, converted: Path, options: dict, head: dict
) -> None:
    """The official file in init_cfg of the backbone; the converted one as load_from."""
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    direct = published.assemble(VisionLSTM(**options), raw)
    expected = features(direct, image)[0]
    logits = expected @ raw['head.1.weight'].T + raw['head.1.bias']
    backbone = dict(type='VisionLSTM', **options)
    cfg = dict(type='mmpretrain.ImageClassifier', backbone=backbone)
    cfg['head'] = dict(type='LinearClsHead', **head)

    model = MODELS.build(cfg)
    load_checkpoint(model, str(converted), strict=True)
    assert torch.equal(features(model.backbone, image)[0], expected)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(image), logits)

    cfg['backbone'] = dict(backbone, init_cfg=dict(type='Pretrained', checkpoint=str(official)))
    model = MODELS.build(cfg)
    model.init_weights()
    assert torch.equal(features(model.backbone, image)[0], expected)


def check_segmentor(
    raw: published.State,
    official: Path,
    converted: Path,
    options: dict,
    row: published.Row,
    dim: int,
) -> None:
    """Both files in init_cfg of UperNet's backbone; the converted one as load_from, too."""
    cfg = Config.fromfile(str(CONFIG_DIR / ADE20K.format(LETTERS[row.dim])))
    del options['out_type']
    cfg.model.backbone.pop('arch')
    cfg.model.backbone.update(options)
    cfg.model.neck.embed_dim = dim
    cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 8
    cfg.model.decode_head.in_channels = [dim] * 4
    cfg.model.auxiliary_head.in_channels = dim
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    plain = {key: x for key, x in cfg.model.backbone.items() if key not in ('type', 'init_cfg')}
    direct = published.assemble(VisionLSTM(**plain), raw)
    assert direct.pos_embed.embed.shape[1:3] == (32, 32) != raw['pos_embed.embed'].shape[1:3]
    expected = features(direct, image)
    assert len(expected) == 4

    for file in (official, converted):
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(file))
        model = MODELS.build(cfg.model)
        model.init_weights()
        assert_same(features(model.backbone, image), expected)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    load_checkpoint(model, str(converted))
    assert_same(features(model.backbone, image), expected)


@torch.no_grad()
def features(backbone: VisionLSTM, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return backbone.eval()(image)


def assert_same(got: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert all(x.isfinite().all() and x.std() > 0 for x in got)
