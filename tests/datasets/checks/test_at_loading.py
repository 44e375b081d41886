"""A file that fails in the middle of a run is named in one line, from worker processes, too."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from vil_mm.datasets.checks import BadFileError, CheckedLoading, mask_loader, name_files
from vil_mm.datasets.checks.files import is_cut_off


def build(cfg: Config, **options) -> object:
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build({**cfg.train_dataloader.dataset, **options})


@pytest.fixture
def dataset(cfg: Config):
    dataset = build(cfg)
    name_files(dataset)
    return dataset


def test_right_data_are_as_before(cfg, dataset) -> None:
    for index in range(len(dataset)):
        one, other = build(cfg)[index], dataset[index]
        assert np.array_equal(one['img'], other['img'])
        assert np.array_equal(one['gt_seg_map'], other['gt_seg_map'])


def cut(content: bytes) -> bytes:
    return content[: len(content) * 3 // 4]


DAMAGE = [
    ('images', cut, 'train0.jpg .*is cut off'),
    ('images', lambda _: b'', r'train0.jpg cannot be read \(the file is empty\)'),
    ('images', lambda _: b'<html>', r'train0.jpg cannot be read \(it is text, not an image\)'),
    ('images', lambda _: b'version https://git-lfs.github.com', 'train0.jpg .*git lfs pull'),
    ('images', None, r'train0.jpg cannot be read \(no such file or directory\)'),
    ('masks', cut, r'train0.png cannot be read \(it is cut off\)'),
    (
        'masks',
        lambda _: b'\x00\xff' * 40,
        r'train0.png cannot be read \(no image of a known',
    ),
]


@pytest.mark.parametrize(('kind', 'change', 'words'), DAMAGE)
def test_damage(root: Path, dataset, kind: str, change, words: str) -> None:
    path = next(root.glob(f'{kind}/train/train0.*'))
    content = path.read_bytes()
    path.unlink()
    if change:
        path.write_bytes(change(content))
    with pytest.raises(BadFileError, match=words):
        dataset[0]


@pytest.mark.parametrize(
    ('labels', 'words'),
    [
        (np.full((72, 96), 7, np.uint8), r'train0.png holds the values 7, expected 0 to 1'),
        (np.zeros((36, 48), np.uint8), r'train0.png has the shape \(36, 48\), its image '),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit(root: Path, dataset, labels: np.ndarray, words: str) -> None:
    Image.fromarray(labels).save(root / 'masks/train/train0.png')
    with pytest.raises(BadFileError, match=words):
        dataset[0]


def test_values_are_those_of_the_file_before_zero_is_taken_out(root: Path, cfg) -> None:
    dataset = build(cfg, reduce_zero_label=True)
    name_files(dataset)
    Image.fromarray(np.full((72, 96), 7, np.uint8)).save(root / 'masks/train/train0.png')
    with pytest.raises(BadFileError, match=r'holds the values 7, expected 1 to 2, or 0 where'):
        dataset[0]


def test_of_a_worker_one_line_is_left(root: Path, dataset) -> None:
    (root / 'images/train/train3.jpg').write_bytes(b'')
    with pytest.raises(BadFileError) as error:
        list(DataLoader(dataset, num_workers=1, batch_size=None))
    assert str(error.value) == f'{root}/images/train/train3.jpg cannot be read (the file is empty)'


def test_the_pipeline_can_be_sent_to_other_processes(dataset) -> None:
    sent = pickle.loads(pickle.dumps(dataset.pipeline))
    assert isinstance(sent, CheckedLoading) and len(sent.transforms) == 2
    assert isinstance(copy.deepcopy(dataset).pipeline, CheckedLoading)


def test_within_wrappers_and_test_time_augmentation(root: Path, cfg) -> None:
    ways = [[dict(type='RandomFlip', prob=0.0)], [dict(type='LoadAnnotations')]]
    pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=ways)]
    inner = dict(cfg.train_dataloader.dataset, pipeline=pipeline)
    with DefaultScope.overwrite_default_scope('mmseg'):
        concat = dict(type='ConcatDataset', datasets=[inner])
        dataset = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=concat))
    name_files(dataset)
    (root / 'masks/train/train0.png').write_bytes(b'')
    with pytest.raises(BadFileError, match=r'train0\.png cannot be read \(the file is empty\)'):
        dataset[6]


def test_mask_loader_reads_as_the_pipeline_does(root: Path, cfg) -> None:
    cfg.train_dataloader.dataset.pipeline[1].imdecode_backend = 'cv2'
    dataset = build(cfg)
    assert mask_loader(dataset).transforms[0].imdecode_backend == 'cv2'
    (root / 'masks/train/train0.png').write_bytes(b'')
    with pytest.raises(BadFileError, match=r'train0\.png'):
        mask_loader(dataset)(dataset.get_data_info(0))


@pytest.mark.parametrize('kind', ['jpg', 'png'])
def test_is_cut_off(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f'a.{kind}'
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(image).save(path)
    content = path.read_bytes()
    assert not is_cut_off(path)
    path.write_bytes(content + b'\0' * 10_000)  # some programs write behind the end
    assert not is_cut_off(path)
    for part in (content[:-30], content[:100]):
        path.write_bytes(part)
        assert is_cut_off(path)
