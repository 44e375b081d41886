"""Training, resuming and testing a small detector on drawn images in COCO's layout."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
try:
    importlib.import_module('mmcv.ops')
except ImportError:
    pytest.skip('mmcv has no compiled operators', allow_module_level=True)

from mmdet.datasets import CocoDataset

from vil_mm import CONFIG_DIR

# configs/det/mask_rcnn_vil_t_coco_cpu.py, every size of it shrunk; {...} is filled in below.
TINY = """
_base_ = {base!r}
work_dir = {work_dir!r}
experiment_name = {name!r}
model = dict(
    backbone=dict(
        arch=dict(embed_dims=16, num_layers=8),
        img_size=64,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
    ),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=5)),
)
neck = _base_.model.neck
neck[0].update(embed_dim=16)
neck[1].update(in_channels=[16] * 4, out_channels=16)
model.update(neck=neck)
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(scale=(64, 64))
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(64, 64))
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root={data!r}, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root={data!r}, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=4)
param_scheduler = [dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=4)]
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=2),
    visualization=dict(score_thr=0.0),
)
visualizer = dict(name={name!r})
"""


@pytest.fixture(scope='module')
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images with one to three filled rectangles, as COCO's training and validation sets."""
    root = tmp_path_factory.mktemp('coco')
    rng = np.random.default_rng(0)
    (root / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        images, objects = [], []
        for number in range(1, 5):
            image = np.full((72, 96, 3), 200, np.uint8)
            for _ in range(rng.integers(1, 4)):
                x, y = (int(v) for v in rng.integers(0, 40, 2))
                w, h = (int(v) for v in rng.integers(20, 32, 2))
                colour = [int(v) for v in rng.integers(0, 180, 3)]
                cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), colour, -1)
                objects.append(
                    dict(
                        id=len(objects) + 1,
                        image_id=number,
                        category_id=int(rng.integers(1, 81)),
                        bbox=[x, y, w, h],
                        area=w * h,
                        iscrowd=0,
                        segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                    )
                )
            cv2.imwrite(str(root / split / f'{number}.jpg'), image)
            images.append(dict(id=number, file_name=f'{number}.jpg', width=96, height=72))
        names = enumerate(CocoDataset.METAINFO['classes'], start=1)
        categories = [dict(id=id_, name=name) for id_, name in names]
        (root / 'annotations' / f'instances_{split}.json').write_text(
            json.dumps(dict(images=images, annotations=objects, categories=categories))
        )
    return root


@pytest.fixture(scope='module')
def write_config(coco: Path) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        base = str(CONFIG_DIR / 'det' / 'mask_rcnn_vil_t_coco_cpu.py')
        work_dir, name = str(folder / 'work'), f'det_{folder.parent.name}_{folder.name}'
        text = TINY.format(base=base, work_dir=work_dir, name=name, data=str(coco))
        config = folder / 'tiny.py'
        config.write_text(text)
        return config

    return write


def weights(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=False)['state_dict']


def log_of(folder: Path) -> str:
    (file,) = folder.glob('*/*.log')
    return file.read_text()


def test_train_test_and_resume(write_config, run_here, tmp_path, coco):
    whole, broken = write_config(tmp_path / 'whole'), write_config(tmp_path / 'broken')
    run_here('train.py', whole)
    run_here('train.py', broken, '--cfg-options', 'train_cfg.max_iters=2')
    run_here('train.py', broken, '--resume')
    last = weights(whole.parent / 'work' / 'iter_4.pth')
    resumed = weights(broken.parent / 'work' / 'iter_4.pth')
    assert all(torch.equal(last[key], resumed[key]) for key in last)
    assert list((whole.parent / 'work').glob('best_coco_bbox_mAP_iter_*.pth'))
    log = log_of(whole.parent / 'work')
    assert 'trained from scratch' in log and 'loss_mask' in log and 'coco/segm_mAP' in log
    assert 'level      lr x' in log

    checkpoint = whole.parent / 'work' / 'iter_4.pth'
    options = ['--out', 'boxes', '--show-dir', 'pictures', '--work-dir', tmp_path / 'test']
    run_here('test.py', whole, checkpoint, *options)
    assert 'coco/bbox_mAP: ' in log_of(tmp_path / 'test')
    boxes = json.loads((tmp_path / 'boxes' / 'predictions.bbox.json').read_text())
    masks = json.loads((tmp_path / 'boxes' / 'predictions.segm.json').read_text())
    assert {box['image_id'] for box in boxes} == {1, 2, 3, 4} and len(masks) == len(boxes)
    assert all(
        x >= -1 and x + w <= 97 and y >= -1 and y + h <= 73
        for x, y, w, h in (box['bbox'] for box in boxes)
    ), 'in pixels of the image, not of what the model saw'
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert [path.name for path in pictures] == ['1.png', '2.png', '3.png', '4.png']
    assert cv2.imread(str(pictures[0])).shape == (72, 2 * 96, 3), 'ground truth and prediction'


def test_bfloat16(write_config, run_here, tmp_path):
    config = write_config(tmp_path / 'amp')
    run_here('train.py', config, '--amp', 'bfloat16', '--no-validate')
    state = weights(tmp_path / 'amp' / 'work' / 'iter_4.pth')
    assert all(torch.isfinite(value).all() for value in state.values())
    assert 'AutocastOptimWrapper' in (tmp_path / 'amp' / 'work' / 'tiny.py').read_text()


def test_one_stage(write_config, run_here, tmp_path, coco):
    config = write_config(tmp_path / 'atss')
    text = f"""
_base_ = [{str(CONFIG_DIR / 'det' / 'atss_vil_t_1x_coco.py')!r}]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, num_layers=8),
        img_size=64,
        out_indices=(0, 1, 2, 3),
        init_cfg=None,
    ),
    bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=1),
    test_cfg=dict(score_thr=0.0),
)
neck = _base_.model.neck
neck[0].update(embed_dim=16)
neck[1].update(in_channels=[16] * 4, out_channels=64)
model.update(neck=neck)
"""
    config.write_text(text)
    options = [
        f'{split}_dataloader.{key}={value}'
        for split in ('train', 'val', 'test')
        for key, value in (
            ('dataset.data_root', coco), ('num_workers', 0), ('persistent_workers', False)
        )
    ]  # fmt: skip
    options += ['train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    options += [f'{split}_dataloader.dataset.pipeline.{step}.scale=(64,64)'
                for split, step in (('train', 3), ('val', 1))]  # fmt: skip
    run_here('train.py', config, '--work-dir', tmp_path / 'out', '--cfg-options', *options)
    log = log_of(tmp_path / 'out')
    assert 'loss_centerness' in log and 'coco/bbox_mAP: ' in log


def test_no_images_at_all(write_config, run_here, tmp_path, capsys):
    config = write_config(tmp_path / 'none')
    with pytest.raises(SystemExit) as exit_:
        option = 'train_dataloader.dataset.data_root=nowhere'
        run_here('train.py', config, '--cfg-options', option)
    assert exit_.value.code == 2
    assert 'train data not found: nowhere/train2017 is missing' in capsys.readouterr().err


def test_small_part_of_coco(test_data, run_here, tmp_path):
    """The config itself on real images, one update."""
    root = test_data / 'coco_tiny'
    if not root.is_dir():
        pytest.skip('no coco_tiny among the real data')
    options = [
        f'{split}_dataloader.{key}'
        for split in ('train', 'val')
        for key in (f'dataset.data_root={root}', 'num_workers=0', 'persistent_workers=False')
    ]
    options += ['train_cfg.max_iters=1', 'train_dataloader.batch_size=2']
    config = CONFIG_DIR / 'det' / 'mask_rcnn_vil_t_coco_cpu.py'
    arguments = ['--work-dir', tmp_path / 'work', '--no-validate', '--cfg-options', *options]
    run_here('train.py', config, *arguments)
    assert (tmp_path / 'work' / 'iter_1.pth').is_file()
