"""Fixtures that several test files use."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

if 'PYTEST_XDIST_WORKER' in os.environ:  # one of several processes, which share the cores
    torch.set_num_threads(1)
    os.environ['OMP_NUM_THREADS'] = '1'  # of the processes that tests start

if not torch.cuda.is_available():  # before any kernel is imported: they run interpreted
    os.environ.setdefault('TRITON_INTERPRET', '1')

import vil_mm  # noqa: F401  first: it may have to help torchvision, which mmpretrain imports

ROOT = Path(__file__).resolve().parent.parent

# configs/upernet_vil_t_drawn.py, every size of it shrunk; {...} is filled in below.
TINY = """
_base_ = {base!r}
work_dir = {work_dir!r}
experiment_name = {name!r}
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, num_layers=8),
        img_size=64,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
    ),
    neck=dict(embed_dim=16),
    decode_head=dict(in_channels=[16] * 4, channels=8, pool_scales=(1, 2)),
    auxiliary_head=dict(in_channels=16, channels=8),
)
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(256, 64), ratio_range=(1.0, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.9),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 64), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
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
train_cfg = dict(max_iters=4, val_interval=2)
param_scheduler = [dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=4)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
visualizer = dict(name={name!r})
"""

# an ImageNet recipe, every size of it shrunk
TINY_CLASSIFIER = """
_base_ = {base!r}
work_dir = {work_dir!r}
experiment_name = {name!r}
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, num_layers=4),
        img_size=32,
        patch_size=8,
        drop_path_rate=0.5,
    ),
    head=dict(num_classes=3, in_channels=32),
)
data_preprocessor = dict(num_classes=3)
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='RandomResizedCrop', scale=32, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ThreeAugment'),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='ResizeEdge', scale=32, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='PackInputs'),
]
loader = dict(num_workers=0, persistent_workers=False, pin_memory=False)
dataset = dict(data_root={data!r}, metainfo=dict(classes=['red', 'green', 'blue']))
train_dataloader = dict(
    batch_size=4, dataset=dict(pipeline=train_pipeline, **dataset), **loader
)
val_dataloader = dict(
    batch_size=4, dataset=dict(pipeline=test_pipeline, **dataset), **loader
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
visualizer = dict(name={name!r})
"""
PHOTOGRAPHED = dict(n01440764=(220, 40, 30), n01443537=(40, 200, 60), n01484850=(30, 60, 210))


@pytest.fixture
def mmpretrain_scope() -> Iterator[None]:
    """Whole classifiers are built in it; earlier tests may have left another default scope."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture(scope='session')
def golden() -> Path:
    """Folder of golden numbers; its README says what they are."""
    return Path(__file__).parent / 'data' / 'golden'


@pytest.fixture(scope='session')
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn pictures for training and three for validation, 64 to 100 pixels a side."""
    from vil_mm.datasets import draw_dataset

    root = tmp_path_factory.mktemp('drawn_data') / 'drawn'
    draw_dataset(root, num_train=8, num_val=3, size_range=(64, 100))
    return root


@pytest.fixture(scope='session')
def write_tiny_config(drawn_data: Path) -> Callable[[Path], Path]:
    """Writes a config that trains 4 iterations in a second on ``drawn_data`` into a folder.

    Returns the file, ``tiny.py``; other configs in that folder may inherit from it. The run writes
    to the folder ``work`` beside it and shares no log or pictures with runs of other folders.
    """

    def write(folder: Path) -> Path:
        base = str(ROOT / 'configs' / 'upernet_vil_t_drawn.py')
        work_dir, name = str(folder / 'work'), f'tiny_{folder.name}'
        text = TINY.format(base=base, work_dir=work_dir, name=name, data=str(drawn_data))
        config = folder / 'tiny.py'
        config.write_text(text)
        return config

    return write


@pytest.fixture(scope='session')
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy pictures of one colour a class, 40 to 60 pixels a side, in ImageNet's folders."""
    root = tmp_path_factory.mktemp('imagenet')
    random = np.random.default_rng(0)
    for split, number in (('train', 4), ('val', 2)):
        for wnid, colour in PHOTOGRAPHED.items():
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for i in range(number):
                size = (*random.integers(40, 60, 2), 3)
                noisy = np.clip(np.array(colour) + random.normal(0, 20, size), 0, 255)
                Image.fromarray(noisy.astype(np.uint8)).save(folder / f'{wnid}_{i}.JPEG')
    return root


@pytest.fixture(scope='session')
def write_tiny_classifier(photographs: Path) -> Callable[[Path], Path]:
    """Writes ``tiny.py`` of a classifier into a folder, as ``write_tiny_config`` of a segmentor."""

    def write(folder: Path) -> Path:
        base = str(ROOT / 'configs' / 'imagenet' / 'vil_t_in1k_192_e800.py')
        work_dir, name = str(folder / 'work'), f'tiny_{folder.name}'
        text = TINY_CLASSIFIER.format(
            base=base, work_dir=work_dir, name=name, data=str(photographs)
        )
        config = folder / 'tiny.py'
        config.write_text(text)
        return config

    return write


@pytest.fixture
def tiny_config(tmp_path: Path, write_tiny_config: Callable[[Path], Path]) -> Path:
    """What ``write_tiny_config`` writes, in the test's own folder."""
    return write_tiny_config(tmp_path)


class Run(NamedTuple):
    """What a training left behind."""

    config: Path
    checkpoint: Path
    work_dir: Path


@pytest.fixture(scope='session')
def trained(
    tmp_path_factory: pytest.TempPathFactory, write_tiny_config: Callable[[Path], Path]
) -> Run:
    """A tiny segmentor that `tools/train.py` has trained: what users have, metadata and all.

    What it printed is in ``screen.txt`` beside the config. Made once a test session, by the first
    of its processes that asks. Read only.
    """
    return _train_once(tmp_path_factory.getbasetemp(), 'trained', write_tiny_config)


@pytest.fixture(scope='session')
def trained_classifier(
    tmp_path_factory: pytest.TempPathFactory, write_tiny_classifier: Callable[[Path], Path]
) -> Run:
    """The same of a tiny classifier of three classes, at 32 pixels."""
    return _train_once(tmp_path_factory.getbasetemp(), 'trained_classifier', write_tiny_classifier)


def _train_once(base: Path, name: str, write_config: Callable[[Path], Path]) -> Run:
    folder = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    run = Run(folder / 'tiny.py', folder / 'work' / 'iter_4.pth', folder / 'work')
    with (folder / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not run.checkpoint.is_file():
            _train(write_config(folder))
    return run


def _train(config: Path) -> None:
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(config)]
    with (config.parent / 'screen.txt').open('w') as screen:  # what a user sees, in its order
        done = subprocess.run(command, cwd=config.parent, stdout=screen, stderr=subprocess.STDOUT)
    assert done.returncode == 0, (config.parent / 'screen.txt').read_text()


@pytest.fixture
def resumable() -> dict:
    """The least that a checkpoint needs for a run to be resumed: parts of the right form."""
    return {
        'meta': {'iter': 2, 'epoch': 0},
        'state_dict': {'a': torch.ones(1)},
        'message_hub': {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}},
        'optimizer': {'state': {}, 'param_groups': [{'params': [0]}]},
        'param_schedulers': [],
    }


@pytest.fixture(scope='session')
def test_data() -> Path:
    """Folder of small real data sets (``camvid``, ``ade20k_mini``, ...), if there is one."""
    root = os.environ.get('VIL_MM_TEST_DATA')
    if not root:
        pytest.skip('VIL_MM_TEST_DATA does not name a folder of real data sets')
    if not Path(root).is_dir():
        pytest.skip(f'VIL_MM_TEST_DATA is no folder: {root}')
    return Path(root)
