"""Folders of data are looked for before a run: named, wrapped, real."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mmengine.config import ConfigDict

from vil_mm import CONFIG_DIR
from vil_mm.runs.checks import CHECKPOINT_PAGE, DATA_PAGE, check_data
from vil_mm.runs.launch import prepare_training
from vil_mm.runs.reading import read_config


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('damage', ['absent', 'empty'])
def test_missing_data(cfg, tmp_path, drawn_data, monkeypatch, split, damage):
    root = tmp_path / 'copy'
    shutil.copytree(drawn_data, root)
    folder = root / 'annotations' / {'train': 'training', 'val': 'validation'}[split]
    shutil.rmtree(folder)
    if damage == 'empty':
        folder.mkdir()
    for name in ('train', 'val'):
        cfg[f'{name}_dataloader'].dataset.data_root = str(root)
    monkeypatch.setattr('torch.load', None)  # nothing is opened
    cfg.load_from = 'nowhere.pth'  # and nothing is looked for before the data
    with pytest.raises(FileNotFoundError) as error:
        prepare_training(cfg)
    message = str(error.value)
    assert f'{split} data not found: {folder} is missing or empty' in message
    assert f'{folder}/' in message and f'{root}/images/{folder.name}/' in message
    assert '\n' not in message
    assert DATA_PAGE in message
    assert f'{split}_dataloader.dataset.data_root=' in message


@pytest.mark.parametrize('page', [DATA_PAGE, CHECKPOINT_PAGE])
def test_page_exists(page):
    assert (Path(__file__).resolve().parents[2] / page).is_file()


def test_the_published_option_for_another_place_works(cfg, drawn_data, tiny_config):
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = 'nowhere'
        with pytest.raises(FileNotFoundError, match=f'{split} data not found: nowhere/images'):
            check_data(cfg, split)
        cfg.merge_from_dict({f'{split}_dataloader.dataset.data_root': str(drawn_data)})
    check_data(cfg, 'train', 'val', 'test')


@pytest.mark.parametrize('wrapper', ['RepeatDataset', 'ConcatDataset', 'both'])
def test_wrapped_data_sets_are_looked_into(cfg, wrapper):
    good = cfg.train_dataloader.dataset
    bad = ConfigDict(good, data_root='nowhere')

    def wrap(dataset: ConfigDict) -> ConfigDict:
        if wrapper == 'RepeatDataset':
            return ConfigDict(type=wrapper, times=2, dataset=dataset)
        inner = dataset if wrapper == 'ConcatDataset' else ConfigDict(times=2, dataset=dataset)
        return ConfigDict(type='ConcatDataset', datasets=[good, inner])

    cfg.train_dataloader.dataset = wrap(good)
    check_data(cfg, 'train')
    cfg.train_dataloader.dataset = wrap(bad)
    with pytest.raises(FileNotFoundError, match='nowhere/images/training'):
        check_data(cfg, 'train')


@pytest.mark.parametrize('name', ['camvid', 'ade20k_mini'])
def test_configs_of_real_data_fit_the_folders(test_data, name):
    if not (test_data / name).is_dir():
        pytest.skip(f'no {name} in VIL_MM_TEST_DATA')
    config = dict(camvid='upernet_vil_t_camvid.py', ade20k_mini='upernet_vil_t_512x512_ade20k.py')[
        name
    ]
    cfg = read_config(str(CONFIG_DIR / config))
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(test_data / name)
    check_data(cfg, 'train', 'val', 'test')


def test_data_prefix_may_be_a_string(cfg, tmp_path):
    cfg.train_dataloader.dataset.data_prefix = 'nothing/here'
    with pytest.raises(FileNotFoundError, match='nothing/here'):
        check_data(cfg, 'train')
