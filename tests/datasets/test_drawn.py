"""The drawn data set: the same for a seed, complete, readable by mmseg, careful with files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS

from vil_mm.datasets import DrawnDataset, draw_dataset
from vil_mm.datasets.drawn import CLASSES

SIZES = dict(num_train=8, num_val=3, size_range=(64, 100))


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob('*') if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def read_pairs(root: Path, split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    annotations = sorted((root / 'annotations' / split).iterdir())
    images = sorted((root / 'images' / split).iterdir())
    assert [x.stem for x in images] == [x.stem for x in annotations]
    flag = cv2.IMREAD_UNCHANGED
    return [
        (cv2.imread(str(x), flag), cv2.imread(str(y), flag))
        for x, y in zip(images, annotations, strict=True)
    ]


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'drawn'
    assert draw_dataset(root, **SIZES)
    return root


def test_pictures_and_labels_match(root):
    pairs = read_pairs(root, 'training')
    assert len(pairs) == 8 and len(read_pairs(root, 'validation')) == 3
    for image, label in pairs:
        assert image.dtype == label.dtype == np.uint8
        assert image.shape == (*label.shape, 3)
        assert all(64 <= side <= 100 for side in label.shape)
        assert label.max() <= len(CLASSES)
    assert any(label.shape[0] != label.shape[1] for _, label in pairs)
    assert len({label.shape for _, label in pairs}) > 1


def test_every_class_occurs_and_a_thin_line_is_unlabelled(root):
    labels = np.concatenate([label.ravel() for _, label in read_pairs(root, 'training')])
    share = np.bincount(labels, minlength=len(CLASSES) + 1) / len(labels)
    assert (share > 0.005).all()
    assert share[0] < 0.25


def test_no_shape_has_a_colour_of_its_own(root):
    for index in range(2, len(CLASSES) + 1):
        means = [
            im[y == index].mean(axis=0) for im, y in read_pairs(root, 'training') if index in y
        ]
        assert len(means) == 1 or np.ptp(means, axis=0).max() > 20


def test_seed_decides_every_byte(root, tmp_path):
    draw_dataset(tmp_path / 'same', **SIZES)
    assert contents(tmp_path / 'same') == contents(root)
    draw_dataset(tmp_path / 'other', **SIZES, seed=1)
    first = 'images/training/00001.jpg'
    assert contents(tmp_path / 'other')[first] != contents(root)[first]


def test_longer_set_begins_with_the_shorter(root, tmp_path):
    draw_dataset(tmp_path / 'longer', **SIZES | dict(num_train=9))
    shorter, longer = contents(root), contents(tmp_path / 'longer')
    assert all(longer[name] == data for name, data in shorter.items() if name != 'meta.json')
    assert len(longer) == len(shorter) + 2


def test_drawn_once(root, capfd):
    before = contents(root)
    assert draw_dataset(root, **SIZES) is False
    assert 'already exists' in capfd.readouterr().out
    assert contents(root) == before


def test_refuses_another_set(root):
    with pytest.raises(FileExistsError, match=r"'seed': 0.*name another folder"):
        draw_dataset(root, **SIZES, seed=1)


def test_refuses_foreign_files(tmp_path):
    (tmp_path / 'thesis.txt').write_text('three years')
    with pytest.raises(FileExistsError, match='other than a drawn data set'):
        draw_dataset(tmp_path, **SIZES)
    assert contents(tmp_path) == {'thesis.txt': b'three years'}


def test_notices_lost_files(tmp_path):
    draw_dataset(tmp_path / 'drawn', **SIZES)
    (tmp_path / 'drawn/annotations/validation/00002.png').unlink()
    with pytest.raises(FileExistsError, match='annotations/validation has lost'):
        draw_dataset(tmp_path / 'drawn', **SIZES)


def test_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr('vil_mm.datasets.drawn._write', interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_dataset(tmp_path / 'drawn', **SIZES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('size_range', [(63, 90), (90, 80)])
def test_refuses_sizes(tmp_path, size_range):
    with pytest.raises(ValueError, match='size_range'):
        draw_dataset(tmp_path / 'drawn', size_range=size_range)


def test_mmseg_reads_it(root):
    prefix = dict(img_path='images/training', seg_map_path='annotations/training')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    cfg = dict(type='DrawnDataset', data_root=str(root), data_prefix=prefix, pipeline=pipeline)
    dataset = DATASETS.build(dict(cfg, _scope_='mmseg'))
    assert isinstance(dataset, DrawnDataset) and len(dataset) == 8
    assert dataset.metainfo['classes'] == CLASSES
    assert len({tuple(colour) for colour in dataset.metainfo['palette']}) == len(CLASSES)
    on_disk = read_pairs(root, 'training')[0][1]
    loaded = dataset[0]['gt_seg_map']
    assert (loaded[on_disk > 0] == on_disk[on_disk > 0] - 1).all()
    assert (loaded[on_disk == 0] == 255).all()
