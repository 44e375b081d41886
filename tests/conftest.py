"""Fixtures that several test files use."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

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
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'trained'
    folder.mkdir(exist_ok=True)
    run = Run(folder / 'tiny.py', folder / 'work' / 'iter_4.pth', folder / 'work')
    with (folder / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not run.checkpoint.is_file():
            _train(write_tiny_config(folder))
    return run


def _train(config: Path) -> None:
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(config)]
    with (config.parent / 'screen.txt').open('w') as screen:  # what a user sees, in its order
        done = subprocess.run(command, cwd=config.parent, stdout=screen, stderr=subprocess.STDOUT)
    assert done.returncode == 0, (config.parent / 'screen.txt').read_text()


@pytest.fixture(scope='session')
def test_data() -> Path:
    """Folder of small real data sets (``camvid``, ``ade20k_mini``, ...), if there is one."""
    root = os.environ.get('VIL_MM_TEST_DATA')
    if not root:
        pytest.skip('VIL_MM_TEST_DATA does not name a folder of real data sets')
    if not Path(root).is_dir():
        pytest.skip(f'VIL_MM_TEST_DATA is no folder: {root}')
    return Path(root)
