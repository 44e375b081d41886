"""A two-class set of small photos, and the config of a run on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from trees import write_image, write_pairs

SIDE = 96
NUMBERS = {'train': 6, 'val': 3}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """``images/{train,val}/*.jpg`` of 96x72 pixels and ``masks/{train,val}/*.png`` of 0 and 1."""
    rng = np.random.default_rng(0)
    for split, number in NUMBERS.items():
        for folder in ('images', 'masks'):
            (tmp_path / folder / split).mkdir(parents=True)
        for i in range(number):
            labels = np.zeros((72, SIDE), np.uint8)
            labels[20:50, 10 + 5 * i : 40 + 5 * i] = 1
            noise = rng.integers(0, 60, (72, SIDE, 3))
            image = Image.fromarray((noise + 150 * labels[..., None]).astype(np.uint8))
            image.save(tmp_path / f'images/{split}/{split}{i}.jpg')
            Image.fromarray(labels).save(tmp_path / f'masks/{split}/{split}{i}.png')
    return tmp_path


@pytest.fixture
def cfg(root: Path) -> Config:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]

    def loader(split: str) -> dict:
        prefix = dict(img_path=f'images/{split}', seg_map_path=f'masks/{split}')
        return dict(
            batch_size=1,
            num_workers=0,
            dataset=dict(
                type='BaseSegDataset',
                metainfo=dict(classes=('background', 'crack'), palette=[[0, 0, 0], [255, 0, 0]]),
                data_root=str(root),
                data_prefix=prefix,
                pipeline=pipeline,
            ),
        )

    return Config(
        dict(
            default_scope='mmseg',
            model=dict(
                data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3),
                backbone=dict(type='VisionLSTM'),
                decode_head=dict(num_classes=2),
            ),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
            test_dataloader=loader('val'),
        )
    )


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A sound tree in the layout of CamVid, with three pairs in each split."""
    root = tmp_path / 'camvid'
    write_pairs(root, 'camvid', ('a', 'b', 'c'), 0, 10, 255)
    return root


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    root = tmp_path / 'cityscapes'
    write_pairs(root, 'cityscapes', ('x_000000_000019',), 0, 18, 255)
    return root


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Two classes with two images each in both splits."""
    root = tmp_path / 'imagenet'
    for split in ('train', 'val'):
        for wnid in ('n01440764', 'n01443537'):
            for index in range(2):
                write_image(root / split / wnid / f'{index}.JPEG')
    return root
