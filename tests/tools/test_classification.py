"""tools/train.py and tools/test.py on a classifier: the ImageNet pipeline in small."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

# an ImageNet recipe, every size of it shrunk
TINY = """
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
CLASSES = dict(n01440764=(220, 40, 30), n01443537=(40, 200, 60), n01484850=(30, 60, 210))


@pytest.fixture(scope='module')
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy pictures of one colour a class, 40 to 60 pixels a side, in ImageNet's folders."""
    root = tmp_path_factory.mktemp('imagenet')
    random = np.random.default_rng(0)
    for split, number in (('train', 4), ('val', 2)):
        for wnid, colour in CLASSES.items():
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for i in range(number):
                size = (*random.integers(40, 60, 2), 3)
                noisy = np.clip(np.array(colour) + random.normal(0, 20, size), 0, 255)
                Image.fromarray(noisy.astype(np.uint8)).save(folder / f'{wnid}_{i}.JPEG')
    return root


@pytest.fixture
def config(tmp_path: Path, photographs: Path) -> Path:
    base = str(ROOT / 'configs' / 'vil_t_in1k_192_e800.py')
    work_dir, name = str(tmp_path / 'work'), f'tiny_{tmp_path.name}'
    text = TINY.format(base=base, work_dir=work_dir, name=name, data=str(photographs))
    (tmp_path / 'tiny.py').write_text(text)
    return tmp_path / 'tiny.py'


def scalars(work_dir: Path) -> list[dict]:
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_train_then_test(config, run_here, tmp_path, photographs, capsys) -> None:
    run_here('train.py', config)
    lines = scalars(tmp_path / 'work')
    assert [line['iter'] for line in lines if 'loss' in line] == [1, 2, 3, 4]
    validated = [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line]
    assert len(validated) == 2
    assert list((tmp_path / 'work').glob('best_accuracy_top1_iter_*.pth'))
    capsys.readouterr()

    last = tmp_path / 'work' / 'iter_4.pth'
    options = ['--out', 'predicted', '--show-dir', 'pictures', '--work-dir', 'test']
    run_here('test.py', config, last, *options)
    printed = re.search(r'accuracy/top1: ([\d.]+)', ''.join(capsys.readouterr()))
    assert float(printed[1]) == pytest.approx(validated[-1], abs=1e-3)
    with (tmp_path / 'predicted' / 'predictions.pkl').open('rb') as file:
        samples = pickle.load(file)
    assert len(samples) == 6
    right = sum(int(s['pred_score'].argmax()) == int(s['gt_label']) for s in samples)
    assert 100 * right / 6 == pytest.approx(validated[-1], abs=1e-3)

    pictures = sorted((tmp_path / 'pictures').glob('*.png'))
    assert len(pictures) == 6
    for picture in pictures:
        colour = np.array(CLASSES[picture.name.split('_')[0]])
        corner = np.array(Image.open(picture).convert('RGB'))[-4:, -4:].reshape(-1, 3).mean(0)
        assert corner.argmax() == colour.argmax(), 'channels are in order'


def test_resumed_run_ends_with_the_weights_of_one_that_was_not_killed(
    config, run_here, tmp_path
) -> None:
    run_here('train.py', config)
    run_here(
        'train.py', config, '--work-dir', tmp_path / 'cut', '--cfg-options', 'train_cfg.max_iters=2'
    )
    run_here('train.py', config, '--work-dir', tmp_path / 'cut', '--resume')
    whole, resumed = (
        torch.load(tmp_path / folder / 'iter_4.pth', weights_only=False)['state_dict']
        for folder in ('work', 'cut')
    )
    for key in whole:
        torch.testing.assert_close(whole[key], resumed[key], rtol=0, atol=0, msg=key)


def test_wrong_number_of_classes_on_disk_is_one_clear_line(config, run_here, tmp_path, capsys):
    """Seen only when the data set is built, after the model."""
    run_here('train.py', config, '--no-validate', '--cfg-options', 'train_cfg.max_iters=2')
    folders = """
_base_ = './tiny.py'
test_dataloader = dict(
    dataset=dict(_delete_=True, type='ImageNetFolders', data_root={root!r}, num_folders=200)
)
"""
    root = str(tmp_path / 'few')
    (tmp_path / 'few' / 'n01440764').mkdir(parents=True)
    (tmp_path / 'few.py').write_text(folders.format(root=root))
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        run_here('test.py', tmp_path / 'few.py', tmp_path / 'work' / 'iter_2.pth')
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf'test\.py: {root}/? has 1 folders of classes, expected 200', line)


def test_missing_split_names_its_folder(config, run_here, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_here('train.py', config, '--cfg-options', 'train_dataloader.dataset.data_root=nowhere')
    assert exit_.value.code == 2
    assert 'train data not found: nowhere/train is not there' in capsys.readouterr().err
