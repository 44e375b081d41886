"""Configs of large crops, other data sets and other heads: sizes, and a step on their data."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import nn

from vil_mm.zoo import find_config

ADE20K = [
    'upernet_vil_b_640x640_ade20k',
    *(f'upernet_vil_{size}_1024x1024_ade20k' for size in 'tsb'),
]
OTHERS = {
    'upernet_vil_s_1024x1024_cityscapes': 'cityscapes',
    'upernet_vil_s_1024x1024_cityscapes_whole': 'cityscapes',
    'upernet_vil_s_769x769_cityscapes': 'cityscapes',
    'upernet_vil_s_769x769_cityscapes_whole': 'cityscapes',
    'upernet_vil_s_1024x1024_loveda': 'loveda',
    'upernet_vil_t_1024x1024_hrf': 'hrf',
}
HEADS = ['fpn_vil_t_512x512_ade20k', 'segmenter_vil_t_512x512_ade20k']
# file of an image, file of its labels, labels in the file, the same in training
LAYOUTS = {
    'cityscapes': (
        'leftImg8bit/{split}/aachen/aachen_000000_000019_leftImg8bit.png',
        'gtFine/{split}/aachen/aachen_000000_000019_gtFine_labelTrainIds.png',
        (0, 18, 255),
        (0, 18, 255),
    ),
    'loveda': ('img_dir/{split}/0.png', 'ann_dir/{split}/0.png', (0, 1, 7), (255, 0, 6)),
    'hrf': ('images/{split}/01_h.png', 'annotations/{split}/01_h.png', (0, 1), (0, 1)),
}


def load(name: str) -> Config:
    return Config.fromfile(find_config(name))


def build(cfg: Config) -> nn.Module:
    register_all_modules(init_default_scope=True)
    return MODELS.build(cfg.model)


@pytest.mark.parametrize('name', [*ADE20K, *OTHERS, *HEADS])
def test_models_build(name) -> None:
    cfg = load(name)
    # Segmenter's head reads numbers from tensors while it is built
    with torch.device('cpu' if name.startswith('segmenter') else 'meta'):
        model = build(cfg)
    assert cfg.model.backbone.init_cfg.checkpoint.startswith('checkpoints/vil2_')
    classes = {'cityscapes': 19, 'loveda': 7, 'hrf': 2}.get(OTHERS.get(name), 150)
    assert model.num_classes == classes
    if model.with_auxiliary_head:
        assert model.auxiliary_head.num_classes == classes
    if '1024' in name or '769' in name:
        assert all(block.with_cp for block in model.backbone.blocks)


def shrink(cfg: Config, root: Path) -> None:
    """A tiny backbone, crops of 64 (or, to be padded, 50) pixels and the data in ``root``."""
    model, crop = cfg.model, 50 if cfg.model.data_preprocessor.get('size_divisor') else 64
    model.backbone.update(
        arch=dict(embed_dims=16, num_layers=8),
        img_size=64,
        out_indices=(0, 1, 2, 3),
        init_cfg=None,
    )
    model.neck.update(embed_dim=16)
    model.decode_head.update(in_channels=[16] * 4, channels=8, pool_scales=(1, 2))
    model.auxiliary_head.update(in_channels=16, channels=8)
    if model.data_preprocessor.get('size'):
        model.data_preprocessor.size = (crop, crop)
    if 'crop_size' in model.test_cfg:
        model.test_cfg.update(crop_size=(64, 64), stride=(43, 43))
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[3].scale, pipeline[4].crop_size = (320, 160), (crop, crop)
    del pipeline[0]  # SeedAugmentation, which needs the loader's sampler
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(root)


def write_data(root: Path, kind: str) -> None:
    """One image of 80x160 pixels a split, its labels in vertical stripes."""
    image, labels, stored, _ = LAYOUTS[kind]
    stripes = np.repeat(np.array(stored, np.uint8), -(-160 // len(stored)))[:160]
    for split in ('train', 'val'):
        folder = {'train': 'training', 'val': 'validation'}[split] if kind == 'hrf' else split
        for file, content in (
            (image, np.full((80, 160, 3), 90, np.uint8)),
            (labels, np.tile(stripes, (80, 1))),
        ):
            path = root / file.format(split=folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), content)


@pytest.mark.parametrize(('name', 'kind'), OTHERS.items())
def test_a_step_and_a_prediction_on_files_of_that_layout(name, kind, tmp_path) -> None:
    cfg = load(name)
    write_data(tmp_path, kind)
    shrink(cfg, tmp_path)
    torch.manual_seed(0)
    model = build(cfg)
    train, val = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val'))
    assert len(train) == len(val) == 1
    found = set(val[0]['data_samples'].gt_sem_seg.data.unique().tolist())
    assert found == set(LAYOUTS[kind][3]), 'labels as the loss takes them'
    batch = pseudo_collate([train[0], train[0]])
    shape = tuple(batch['inputs'][0].shape[1:])
    assert shape == ((50, 50) if '769' in name else (64, 64))
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))
    before = model.backbone.patch_embed.proj.weight.detach().clone()
    losses = model.train_step(batch, optimizer)
    assert torch.isfinite(losses['loss']) and losses['loss'] > 0
    assert not torch.equal(before, model.backbone.patch_embed.proj.weight)
    model.eval()
    (sample,) = model.val_step(pseudo_collate([val[0]]))
    assert sample.pred_sem_seg.data.shape == sample.gt_sem_seg.data.shape == (1, 80, 160)
    assert cfg.model.test_cfg.mode == ('whole' if name.endswith('whole') else 'slide')


def test_crops_of_769_are_padded_to_whole_patches() -> None:
    cfg = load('upernet_vil_s_769x769_cityscapes')
    assert cfg.train_dataloader.dataset.pipeline[4].crop_size == (769, 769)
    register_all_modules(init_default_scope=True)
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 769, 769).long()))
    data = {'inputs': [torch.zeros(3, 769, 769, dtype=torch.uint8)], 'data_samples': [sample]}
    out = preprocessor(data, training=True)
    assert out['inputs'].shape == (1, 3, 784, 784)
    labels = out['data_samples'][0].gt_sem_seg.data[0]
    assert (labels[769:] == 255).all() and (labels[:, 769:] == 255).all()
    assert cfg.model.backbone.img_size == 784 == cfg.model.test_cfg.crop_size[0]


@pytest.mark.parametrize('name', HEADS)
def test_other_heads_learn(name) -> None:
    """Forward and backward through the whole model at its width, half of its depth left out."""
    cfg = load(name)
    taps = cfg.model.backbone.out_indices
    last = len(taps) - 1
    cfg.model.backbone.update(
        arch=dict(embed_dims=192, num_layers=2 * len(taps)),
        img_size=64,
        out_indices=tuple(range(last + 1)),
        init_cfg=None,
    )
    cfg.model.data_preprocessor.size = (64, 64)
    torch.manual_seed(0)
    model = build(cfg)
    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=torch.full((1, 64, 64), 7)),
            metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
        )
        for _ in range(2)
    ]
    images = [torch.randint(256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))
    losses = [
        model.train_step({'inputs': images, 'data_samples': samples}, optimizer)['loss']
        for _ in range(3)
    ]
    assert losses[-1] < losses[0]
    reached = optimizer.optimizer.state  # of those that had a gradient
    assert all(p in reached for p in model.parameters())
    model.eval()
    (sample,) = model.test_step({'inputs': images[:1], 'data_samples': samples[:1]})
    assert sample.seg_logits.data.shape == (150, 64, 64)
    assert not model.with_auxiliary_head
