"""Configs of detectors; what builds them needs mmdetection and an mmcv with operators."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

import vil_mm
from vil_mm.layers import resize_embedding
from vil_mm.models import VisionLSTM

FOLDER = vil_mm.CONFIG_DIR / 'det'
CONFIGS = sorted(path.name for path in FOLDER.glob('*.py'))
DECAY, LEVELS = 0.7, 14  # the embeddings, 12 blocks, what comes after them


def load(name: str) -> Config:
    return Config.fromfile(FOLDER / name)


@pytest.fixture(scope='module')
def build():
    """Builds the model of a config."""
    pytest.importorskip('mmdet')
    try:
        importlib.import_module('mmcv.ops')
    except ImportError:
        pytest.skip('mmcv has no compiled operators')
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    def build(name: str, *, initialise: bool = False, **backbone) -> nn.Module:
        register_all_modules(init_default_scope=True)
        cfg = load(name)
        cfg.model.backbone.update({'init_cfg': None, **backbone})
        model = MODELS.build(cfg.model)
        if initialise:
            model.init_weights()
        return model

    return build


@pytest.mark.parametrize('name', CONFIGS)
def test_numbers_in_several_places_agree(name):
    cfg = load(name)
    assert cfg.param_scheduler[-1].milestones[-1] < cfg.train_cfg.max_iters
    width = vil_mm.models.backbones.options.read_arch(cfg.model.backbone.arch)[0]
    pyramid, fpn = cfg.model.neck
    assert pyramid.embed_dim == width and fpn.in_channels == [width] * 4
    for split in ('val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        expected = str(Path(dataset.data_root, dataset.ann_file))
        assert cfg[f'{split}_evaluator'].ann_file == expected
    assert [hook.type for hook in cfg.custom_hooks][-1] == 'FloatOutputsHook'


@pytest.mark.parametrize(
    ('name', 'strides', 'channels'),
    [
        ('mask_rcnn_vil_t_coco_cpu.py', (4, 8, 16, 32, 64), 64),
        ('mask_rcnn_vil_t_3x_coco.py', (4, 8, 16, 32, 64), 256),
        ('atss_vil_t_1x_coco.py', (8, 16, 32, 64, 128), 256),
    ],
)
def test_taps_become_a_pyramid(build, name, strides, channels):
    model = build(name, img_size=128).eval()
    with torch.no_grad():
        levels = model.extract_feat(torch.randn(1, 3, 128, 256))
    assert [level.shape for level in levels] == [
        (1, channels, 128 // stride, 256 // stride) for stride in strides
    ]
    head = getattr(model, 'rpn_head', None) or model.bbox_head
    assert [stride for stride, _ in head.prior_generator.strides] == list(strides)


def test_learning_rate_falls_from_block_to_block(build):
    name = 'mask_rcnn_vil_t_3x_coco.py'
    model = build(name)
    wrapper = build_optim_wrapper(model, load(name).optim_wrapper)
    rates = {
        id(parameter): (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    for part, level in [
        ('backbone.patch_embed', 0),
        *((f'backbone.blocks.{block}.layers.0', block + 1) for block in range(12)),
        ('neck', LEVELS - 1),
        ('rpn_head', LEVELS - 1),
        ('roi_head.mask_head', LEVELS - 1),
    ]:
        for parameter in model.get_submodule(part).parameters():
            lr, weight_decay = rates[id(parameter)]
            assert lr == pytest.approx(1e-4 * DECAY ** (LEVELS - 1 - level), rel=1e-6), part
            assert weight_decay == (0.0 if parameter.ndim == 1 else 0.1)
    assert rates[id(model.backbone.pos_embed.embed)][1] == 0.0
    assert len(rates) == len(list(model.parameters()))


def test_position_embedding_of_pretraining_is_resized(build, tmp_path):
    torch.manual_seed(0)
    pretrained = VisionLSTM('tiny', img_size=224, out_indices=(3, 5, 7, 11), final_norm=False)
    file = str(tmp_path / 'pretrained.pth')
    torch.save(dict(state_dict=pretrained.state_dict()), file)
    model = build(
        'mask_rcnn_vil_t_3x_coco.py',
        initialise=True,
        init_cfg=dict(type='Pretrained', checkpoint=file),
    )
    own, stored = model.backbone.state_dict(), pretrained.state_dict()
    key = 'pos_embed.embed'
    assert stored[key].shape == (1, 14, 14, 192) and own[key].shape == (1, 64, 64, 192)
    assert torch.equal(own.pop(key), resize_embedding(stored.pop(key), (64, 64)))
    assert all(torch.equal(own[name], stored[name]) for name in stored)
    assert own.keys() == stored.keys()
