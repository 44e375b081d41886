"""What is refused before a classifier is trained, and what passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from vil_mm import CONFIG_DIR
from vil_mm.datasets import imagenet_wnids
from vil_mm.runs.checks import check_data, check_trains
from vil_mm.runs.tasks import classification
from vil_mm.zoo import find_config

CONFIGS = [path for path in sorted(CONFIG_DIR.rglob('*.py')) if '_base_' not in path.parts]


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(find_config('vil_t_in1k_192_e800'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_passes_its_checks(path: Path) -> None:
    cfg = Config.fromfile(path)
    classification.check(cfg)
    if path.stem.endswith('_eval'):
        with pytest.raises(ValueError, match=r'can only be tested: python tools/test\.py'):
            check_trains(cfg)
    else:
        check_trains(cfg)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'model.backbone.out_type': 'raw'}, "out_type='raw' does not pool"),
        ({'model.backbone.out_type': 'avg'}, "in_channels=384, but .*out_type='avg' gives 192"),
        ({'model.backbone.arch': 'base'}, "arch='base' .* gives 1536 channels"),
        ({'model.head.num_classes': 7}, r'num_classes=7, but data_preprocessor\.num_classes=1000'),
        ({'train_dataloader.batch_size': 3}, 'batch_size=3: images are mixed in pairs'),
    ],
    ids=['no pooling', 'pooling', 'arch', 'classes', 'odd batch'],
)
def test_classifier_options_that_do_not_agree(cfg, options: dict, words: str) -> None:
    cfg.merge_from_dict(options)
    with pytest.raises(ValueError, match=words):
        classification.check(cfg)


def test_unmixed_classifier_may_have_any_batch(cfg) -> None:
    cfg.model.train_cfg = None
    cfg.merge_from_dict({'train_dataloader.batch_size': 3, 'model.head.num_classes': 7})
    classification.check(cfg)


class TestImageNetFolders:
    @pytest.fixture
    def root(self, tmp_path: Path, cfg) -> Path:
        for wnid in imagenet_wnids():
            (tmp_path / 'train' / wnid).mkdir(parents=True)
        cfg.train_dataloader.dataset.data_root = str(tmp_path)
        return tmp_path

    def test_all_there(self, cfg, root) -> None:
        check_data(cfg, 'train')

    def test_a_missing_class_is_named(self, cfg, root) -> None:
        gone = root / 'train' / imagenet_wnids()[7]
        gone.rmdir()
        with pytest.raises(FileNotFoundError, match=f'train data not found: {gone} is missing'):
            check_data(cfg, 'train')

    def test_with_a_list_of_images_there_are_no_folders(self, cfg, root) -> None:
        (root / 'train' / imagenet_wnids()[7]).rmdir()
        (root / 'meta').mkdir()
        (root / 'meta' / 'train.txt').write_text('a.JPEG 0\n')
        check_data(cfg, 'train')
