"""The check of a config's data: what is read, by whom, and of which tasks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from vil_mm.datasets import DatasetError
from vil_mm.datasets.checks import SAMPLE, pairs
from vil_mm.runs.data import check_samples, check_whole, find_expectations, inspect_data
from vil_mm.runs.reading import read_config


def at(config: str, root: Path) -> Config:
    places = {f'{split}_dataloader.dataset.data_root': str(root) for split in ('train', 'val')}
    return read_config(config, options=places)


@pytest.fixture
def many(tmp_path: Path) -> Config:
    """A config of two classes whose training set has 80 pairs; the validation set is the same."""
    for folder in ('images', 'annotations'):
        (tmp_path / folder / 'train').mkdir(parents=True)
    for i in range(80):
        labels = np.zeros((8, 8), np.uint8)
        labels[:4] = 255
        Image.fromarray(labels).save(tmp_path / f'annotations/train/{i:02}.png')
        Image.fromarray(labels).save(tmp_path / f'images/train/{i:02}.jpg')
    cfg = at('upernet_vil_t_camvid_cpu', tmp_path)
    cfg.train_dataloader.dataset.metainfo = dict(classes=('a', 'b'), palette=[[0] * 3] * 2)
    cfg.val_dataloader = None
    return cfg


def masks_of(cfg: Config) -> list[Path]:
    return sorted(Path(cfg.train_dataloader.dataset.data_root).glob('annotations/train/*'))


def write_class_b(path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(path)


def test_before_one_class_is_refused_all_masks_are_read(many) -> None:
    with pytest.raises(DatasetError, match="class 'a' alone occurs in the 80 masks read"):
        check_samples(many, 'train')


def test_a_class_in_any_mask_is_found(many, capsys) -> None:
    sample = {int(Path(p.mask).stem) for p in sampled(many)}
    assert len(sample) == SAMPLE
    rest = next(i for i in range(80) if i not in sample)
    write_class_b(masks_of(many)[rest])
    check_samples(many, 'train')
    assert capsys.readouterr().err == ''


def sampled(cfg: Config) -> list[pairs.Pair]:
    """The pairs that are read of a set where nothing is wrong."""
    seen, read = [], pairs.read_pair

    def spy(*args) -> pairs.Pair:
        seen.append(read(*args))
        return seen[-1]

    for path in masks_of(cfg):
        write_class_b(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('vil_mm.datasets.checks.check.read_pair', spy)
        check_samples(cfg, 'train')
    for path in masks_of(cfg):
        labels = np.zeros((8, 8), np.uint8)
        labels[:4] = 255
        Image.fromarray(labels).save(path)
    return seen


def test_the_sample_is_the_same_every_time(many) -> None:
    assert [p.mask for p in sampled(many)] == [p.mask for p in sampled(many)]


def test_whole_reads_everything_and_tells_how_far_it_is(many) -> None:
    for path in masks_of(many):
        write_class_b(path)
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(masks_of(many)[79])
    told = []
    reports = inspect_data(
        many, 'train', whole=True, workers=2, progress=lambda *step: told.append(step)
    )
    assert reports[0].num_read == 80 and told[-1] == ('train pairs', 80, 80)
    assert '79.png holds the value 9' in reports[0].errors[0]


def test_files_are_listed_not_asked_for_one_by_one(many, monkeypatch) -> None:
    for path in masks_of(many):
        write_class_b(path)

    def refuse(path: str) -> bool:
        raise AssertionError(f'asked for {path}')

    isfile = os.path.isfile
    monkeypatch.setattr(os.path, 'isfile', lambda p: refuse(p) if '.png' in str(p) else isfile(p))
    check_samples(many, 'train')


@pytest.mark.parametrize(('launcher', 'variable'), [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID')])
def test_the_first_of_several_processes_looks(many, monkeypatch, launcher, variable) -> None:
    many.launcher = launcher
    monkeypatch.setenv(variable, '1')
    check_samples(many, 'train')
    monkeypatch.setenv(variable, '0')
    with pytest.raises(DatasetError):
        check_samples(many, 'train')


@pytest.mark.parametrize(
    ('config', 'folder'),
    [
        ('upernet_vil_t_camvid_cpu', 'camvid'),
        ('upernet_vil_t_512x512_ade20k', 'ade20k_mini'),
        ('vil_t_imagenette_cpu', 'imagenette_mini'),
    ],
)
def test_real_sets_pass(test_data, capsys, config: str, folder: str) -> None:
    check_samples(at(config, test_data / folder), 'train', 'val')
    assert capsys.readouterr().err == ''


def test_the_drawn_set_passes(drawn_data, capsys) -> None:
    cfg = at('upernet_vil_t_drawn', drawn_data)
    check_samples(cfg, 'train', 'val')
    assert capsys.readouterr().err == ''


class TestClassification:
    @pytest.fixture
    def cfg(self, tmp_path: Path) -> Config:
        for split in ('train', 'val'):
            for name in ('crack', 'sound'):
                folder = tmp_path / split / name
                folder.mkdir(parents=True)
                for i in range(2):
                    pixels = np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8)
                    Image.fromarray(pixels).save(folder / f'{split}{name}{i}.jpg')
        cfg = at('vil_t_imagenette_cpu', tmp_path)
        for split in ('train', 'val'):
            cfg[f'{split}_dataloader'].dataset.metainfo = dict(classes=('crack', 'sound'))
        cfg.model.head.num_classes = 2
        return cfg

    def test_right(self, cfg, capsys) -> None:
        check_samples(cfg, 'train', 'val')
        assert capsys.readouterr().err == ''

    def test_damaged(self, cfg, tmp_path) -> None:
        (tmp_path / 'val/sound/valsound0.jpg').write_bytes(b'')
        with pytest.raises(DatasetError, match=r'^val data: .*valsound0\.jpg cannot be read'):
            check_samples(cfg, 'train', 'val')

    def test_more_classes_than_outputs(self, cfg) -> None:
        cfg.model.head.num_classes = 1
        with pytest.raises(DatasetError, match=r'has the class 1, the model has 1 \(0 to 0\)'):
            check_samples(cfg, 'train')

    def test_folders_that_are_no_classes(self, cfg, tmp_path) -> None:
        (tmp_path / 'train/other').mkdir()
        with pytest.raises(DatasetError, match=r'^train data: CustomDataset cannot be built: '):
            check_samples(cfg, 'train')

    def test_list_of_images(self, cfg, tmp_path) -> None:
        (tmp_path / 'train.txt').write_text('crack/traincrack0.jpg 0\ncrack/none.jpg 1\n')
        dataset = cfg.train_dataloader.dataset
        dataset.update(type='CustomDataset', ann_file='train.txt', data_prefix='train')
        with pytest.raises(DatasetError, match=r'no image .*crack/none\.jpg: add it, or take it'):
            check_samples(cfg, 'train')


def test_test_data_that_are_validation_data_are_read_once(drawn_data) -> None:
    cfg = at('upernet_vil_t_drawn', drawn_data)
    cfg.test_dataloader = cfg.val_dataloader
    assert [r.split for r in check_whole(cfg) if r.num_images] == ['train', 'val']


def test_a_config_without_data() -> None:
    with pytest.raises(ValueError, match='no data: the config has no train_dataloader'):
        check_whole(Config({}))


def test_expectations() -> None:
    cfg = read_config('upernet_vil_t_512x512_ade20k')
    assert find_expectations(cfg).num_classes == 150
    assert find_expectations(cfg).channels == 3 and find_expectations(cfg).ignore_index == 255
