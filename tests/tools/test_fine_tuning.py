"""docs/fine_tuning.md, run as it stands but for the base config, weights and number of updates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'fine_tuning.md'
OTHER_CLASSES, FROM_IMAGENET, ONE_OUTPUT, WEIGHTED = re.findall(
    r'```python\n(.*?)```', PAGE.read_text(), re.S
)
BASE = "'./configs/upernet_vil_t_512x512_ade20k.py'"
SEGMENTOR = "'work_dirs/upernet_vil_t_512x512_ade20k/iter_160000.pth'"
CLASSIFIER = "'checkpoints/vil2_tiny16_e800_in1k.th'"
# the wide steps are for a model that knows nothing yet
SHORT = (
    'train_cfg.max_iters=40',
    'train_cfg.val_interval=40',
    'default_hooks.checkpoint.interval=40',
    'param_scheduler=None',
    'optim_wrapper.optimizer.lr=3e-3',
)
# an update of zero: the checkpoint after it has what was loaded
STILL = (
    'train_cfg.max_iters=1',
    'default_hooks.checkpoint.interval=1',
    'optim_wrapper.optimizer.lr=0',
    'optim_wrapper.optimizer.weight_decay=0',
)


@pytest.fixture(scope='module')
def cracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/cracks``: bright lines on dark ground, a strip of it without a class."""
    root = tmp_path_factory.mktemp('cracks')
    rng = np.random.default_rng(0)
    for split, number in (('training', 8), ('validation', 3)):
        images = root / 'data' / 'cracks' / 'images' / split
        labels = root / 'data' / 'cracks' / 'annotations' / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for i in range(number):
            label = np.zeros((64, 80), np.uint8)
            start, end = rng.integers(0, 64, (2, 2)).tolist()
            cv2.line(label, start, end, 1, thickness=18)
            image = rng.integers(0, 60, (64, 80, 3), dtype=np.uint8) + 140 * label[..., None]
            label[:6] = 255
            cv2.imwrite(str(images / f'{i}.jpg'), image)
            cv2.imwrite(str(labels / f'{i}.png'), label)
    return root


@pytest.fixture
def write(
    tmp_path: Path, cracks: Path, write_tiny_config: Callable[[Path], Path], trained
) -> Callable[[str, str], Path]:
    """Writes a block of the page beside the data, its paths replaced by what is there."""
    (tmp_path / 'data').symlink_to(cracks / 'data')
    tiny = write_tiny_config(tmp_path)

    def write(name: str, text: str) -> Path:
        assert name == 'cracks.py' or "'./cracks.py'" in text
        text = text.replace(BASE, repr(str(tiny))).replace(SEGMENTOR, repr(str(trained.checkpoint)))
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def log_of(work_dir: Path) -> str:
    (log,) = work_dir.glob('*/*.log')
    return log.read_text()


def score(work_dir: Path) -> float:
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    return json.loads(scalars.read_text().splitlines()[-1])['mIoU']


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False, map_location='cpu')['state_dict']


def test_the_page_names_what_there_is() -> None:
    assert Path(ROOT, BASE.strip("'")).is_file()
    for text in (BASE, SEGMENTOR):
        assert text in OTHER_CLASSES
    assert CLASSIFIER in FROM_IMAGENET


def test_from_a_segmentor_of_other_classes(write, run_here, tmp_path, trained) -> None:
    config = write('cracks.py', OTHER_CLASSES)
    run_here('train.py', config, '--work-dir', 'w', '--no-validate', '--cfg-options', *STILL)
    log = ' '.join(log_of(tmp_path / 'w').split())
    assert 'decode_head.conv_seg.weight is for 8 classes in the checkpoint, 2 in the model' in log
    assert 'auxiliary_head.conv_seg.weight is for 8 classes in the checkpoint, 2 in the mo' in log
    assert 'from scratch' not in log
    old, new = weights(trained.checkpoint), weights(tmp_path / 'w' / 'iter_1.pth')
    assert old.keys() == new.keys()
    fresh = {key for key in old if old[key].shape != new[key].shape}
    assert fresh == {
        f'{head}.conv_seg.{name}'
        for head in ('decode_head', 'auxiliary_head')
        for name in ('weight', 'bias')
    }
    parameters = [key for key in old if 'running' not in key and 'num_batches' not in key]
    assert all(torch.equal(old[key], new[key]) for key in parameters if key not in fresh)


def test_from_weights_of_a_classifier(write, run_here, tmp_path, cracks) -> None:
    classifier = train_classifier(run_here, tmp_path)
    write('cracks.py', OTHER_CLASSES)
    config = write('imagenet.py', FROM_IMAGENET.replace(CLASSIFIER, repr(str(classifier))))
    run_here('train.py', config, '--work-dir', 'w', '--no-validate', '--cfg-options', *STILL)
    assert f'Backbone weights loaded from {classifier}' in log_of(tmp_path / 'w')
    old, new = weights(classifier), weights(tmp_path / 'w' / 'iter_1.pth')
    names = [key for key in new if key.startswith('backbone.') and 'pos_embed' not in key]
    assert names and all(torch.equal(old[key], new[key]) for key in names)


CLASSIFIER_CONFIG = """
_base_ = {base!r}
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, num_layers=8), img_size=32),
    head=dict(in_channels=32, num_classes=2, topk=1),
    train_cfg=None,
)
data = dict(_delete_=True, type='CustomDataset', data_root='photos', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')])
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=data,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True))
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
custom_hooks = []
"""


def train_classifier(run_here, folder: Path) -> Path:
    """A checkpoint of a ViL classifier that ``tools/train.py`` has written."""
    for name in ('cat', 'dog'):
        (folder / 'photos' / name).mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(
                str(folder / 'photos' / name / f'{i}.jpg'), np.full((32, 32, 3), 99 * i, np.uint8)
            )
    config = folder / 'classifier.py'
    base = str(ROOT / 'configs' / 'imagenet' / 'vil_t_imagenette_cpu.py')
    config.write_text(CLASSIFIER_CONFIG.format(base=base))
    run_here('train.py', config, '--work-dir', 'c', '--no-validate', '--cfg-options', *STILL)
    return folder / 'c' / 'iter_1.pth'


@pytest.mark.parametrize(
    'block',
    [
        'softmax',
        'sigmoid',
        'class weights',
        pytest.param('sigmoid, weighted', marks=pytest.mark.slow),
    ],
)
def test_two_classes_are_learnt(block: str, write, run_here, tmp_path) -> None:
    config = write('cracks.py', OTHER_CLASSES)
    options = [*SHORT]
    if block.startswith('sigmoid'):
        config = write('one_output.py', ONE_OUTPUT)
    if block == 'class weights':
        config = write('weighted.py', WEIGHTED)
    if block.endswith('weighted'):
        heads = ('decode_head', 'auxiliary_head')
        options += [f'model.{head}.loss_decode.class_weight=[2.0]' for head in heads]
    run_here('train.py', config, '--work-dir', 'w', '--cfg-options', *options)
    # all background is 44; what is weighted overdoes the second class at first
    assert score(tmp_path / 'w') > (55 if 'weight' in block else 80)
    outputs = len(weights(tmp_path / 'w' / 'iter_40.pth')['decode_head.conv_seg.bias'])
    assert outputs == (1 if block.startswith('sigmoid') else 2)
    assert Config.fromfile(config).model.decode_head.num_classes == 2
