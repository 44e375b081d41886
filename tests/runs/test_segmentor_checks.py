"""Options of a segmentor that contradict each other or the data: which are refused, which pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict

from vil_mm import CONFIG_DIR
from vil_mm.runs.segmentor_checks import check_segmentor, find_classes
from vil_mm.runs.validation_checks import check_normalisation, check_save_best

DECODE, AUX = 'model.decode_head', 'model.auxiliary_head'
TRAINING = [path for path in sorted(CONFIG_DIR.rglob('*.py')) if '_base_' not in path.parts]


@pytest.fixture
def cfg(drawn_data: Path) -> Config:
    cfg = Config.fromfile(CONFIG_DIR / 'upernet_vil_t_drawn.py')
    cfg.train_dataloader.dataset.data_root = str(drawn_data)
    return cfg


def check(cfg: Config) -> None:
    check_normalisation(cfg)
    check_save_best(cfg)
    check_segmentor(cfg, 'train', 'val')


@pytest.mark.parametrize('path', TRAINING, ids=lambda path: path.stem)
def test_every_config_passes(path: Path) -> None:
    check(Config.fromfile(path))


def one_output(**loss) -> dict:
    """Two classes by one output, on both heads."""
    loss = {'type': 'CrossEntropyLoss', **loss}
    options = {'train_dataloader.dataset.metainfo': None, 'train_dataloader.dataset.type': 'Own'}
    for head in (DECODE, AUX):
        options |= {f'{head}.num_classes': 2, f'{head}.out_channels': 1}
        options |= {f'{head}.loss_decode.{key}': value for key, value in loss.items()}
    return options | {'val_dataloader.dataset.type': 'Own'}


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (
            {f'{DECODE}.num_classes': 150},
            r'decode_head\.num_classes=150, but the train data has 8 classes \(ground, disc,',
        ),
        ({f'{AUX}.num_classes': 2}, r'auxiliary_head\.num_classes=2, but the train data has 8'),
        (
            {'val_dataloader.dataset.metainfo': {'classes': ('ground', 'disc')}},
            r'num_classes=8, but the val data has 2 classes \(ground, disc\)',
        ),
        (
            {
                'train_dataloader.dataset.type': 'Own',
                'val_dataloader.dataset.type': 'Own',
                f'{AUX}.num_classes': 2,
            },
            r'decode_head\.num_classes=8, but .*auxiliary_head\.num_classes=2: both learn',
        ),
        (
            {f'{DECODE}.loss_decode.class_weight': [1.0, 2.0]},
            r'decode_head\.loss_decode\.class_weight has 2 numbers, but .* has 8 outputs',
        ),
        ({f'{DECODE}.loss_decode.class_weight': 2.0}, r'=2\.0: expected a list of 8 numbers'),
        ({f'{DECODE}.loss_decode.class_weight': dict(road=2.0)}, r'expected a list of 8 numbers'),
        (
            {f'{DECODE}.loss_decode.class_weight': ['1'] * 8},
            r"has '1': expected numbers of",
        ),
        ({f'{DECODE}.loss_decode.class_weight': [1.0] * 7 + [-1.0]}, r'has -1\.0: expected num'),
        ({f'{DECODE}.loss_decode.class_weight': [0.0] * 8}, r'is 0 for every class'),
        ({f'{AUX}.ignore_index': 254}, r'ignore_index=255, but .*auxiliary_head\.ignore_index=254'),
        (
            {'model.test_cfg': dict(mode='slide', crop_size=64, stride=32)},
            r'test_cfg\.crop_size=64: expected rows and columns',
        ),
        (
            {'model.test_cfg': dict(mode='slide', crop_size=(64, 64), stride=(64, 80))},
            r'stride=.* is larger than crop_size=',
        ),
        ({'default_hooks.checkpoint.save_best': True}, r'save_best=True: expected the name'),
        (
            {'default_hooks.checkpoint.rule': 'bigger'},
            r"rule='bigger': expected 'greater' or",
        ),
        ({'model.data_preprocessor.std': [58.0, 0.0, 57.0]}, r'std contains 0'),
        (
            {f'{AUX}.loss_decode.class_weight': 'no.npy'},
            r'auxiliary_head\.loss_decode\.class_weight: no such file: no\.npy',
        ),
        (
            {
                f'{DECODE}.loss_decode': [
                    dict(type='DiceLoss'),
                    dict(type='LovaszLoss', class_weight=[1.0]),
                ]
            },
            r'decode_head\.loss_decode\.1\.class_weight has 1 numbers',
        ),
        ({f'{DECODE}.out_channels': 3}, r'out_channels=3, but num_classes=8'),
        ({f'{DECODE}.out_channels': 1}, r'one output and num_classes=8, .*#two-classes'),
        (one_output(), r'decode_head\.loss_decode is a softmax over one output'),
        (
            one_output(use_sigmoid=True, class_weight=[1.0, 2.0]),
            r'has 2 numbers, but .* has 1 outputs: .*: the weight of the second class',
        ),
        ({'model.neck.embed_dim': 384}, r'embed_dim=384, but maps of model\.backbone have 192'),
        ({'model.backbone.arch': 'small'}, r'embed_dim=192, but maps of .* have 384'),
        ({'model.backbone.out_indices': (5, 11)}, r'names 2 maps, but model\.neck has 4'),
        ({f'{AUX}.in_index': 4}, r'auxiliary_head\.in_index=\[4\], but the head gets 4 maps'),
        ({f'{AUX}.in_channels': 96}, r'auxiliary_head\.in_channels=96, but maps .* 192'),
        ({f'{DECODE}.in_channels': [192] * 3}, 'in_channels has 3 entries, in_index 4'),
        ({'model.backbone.out_type': 'raw'}, "out_type='raw' returns no maps"),
        ({'model.test_cfg.mode': 'slide'}, "mode='slide', but no crop_size and stride"),
        ({'model.test_cfg.mode': 'tiled'}, r"mode='tiled', expected one of \('whole', 'slide'\)"),
        (
            {'train_dataloader.batch_size': 1},
            'batch_size=1, but model.decode_head has a batch norm',
        ),
        (
            {
                'train_dataloader.sampler.type': 'DefaultSampler',
                'train_dataloader.batch_size': 7,
            },
            r'the last batch of the training data has 1 image.*drop_last=True',
        ),
        (
            {'val_evaluator.iou_metrics': ['mDice']},
            r"save_best='mIoU', but val_evaluator computes aAcc, mDice, mAcc: name one",
        ),
        ({'val_evaluator.iou_metrics': ['IoU']}, "iou_metrics has 'IoU', expected some of mIoU"),
        ({'val_evaluator.prefix': 'night'}, r'computes night/aAcc, night/mIoU, night/mAcc'),
        (
            {
                'val_evaluator.iou_metrics': ['mFscore'],
                'default_hooks.checkpoint.save_best': 'mFscore',
            },
            r"save_best='mFscore': .* add default_hooks\.checkpoint\.rule='greater'",
        ),
        ({'model.backbone.in_channels': 4}, r'mean has 3 numbers, but .*in_channels=4'),
        ({'model.data_preprocessor.std': [58.0, 57.0]}, 'mean has 3 numbers, but std has 2'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_refused(cfg: Config, options: dict, words: str) -> None:
    cfg.merge_from_dict(options)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
        check(cfg)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'options',
    [
        one_output(use_sigmoid=True, class_weight=[3.0]),
        {f'{DECODE}.loss_decode.class_weight': [1.0] * 8},
        {f'{DECODE}.loss_decode.use_sigmoid': True},
        {f'{DECODE}.type': 'HeadOfAnotherPackage', f'{DECODE}.num_classes': 5},
        {AUX: dict(type='STDCHead', num_classes=2, in_channels=192, channels=8, in_index=0)},
        {'train_dataloader.batch_size': 1, f'{DECODE}.norm_cfg': dict(type='GN', num_groups=8)},
        {'train_dataloader.batch_size': 1, f'{DECODE}.pool_scales': (2, 3)},
        {'train_dataloader.batch_size': 1, 'launcher': 'pytorch', 'sync_bn': 'torch'},
        {
            'train_dataloader.sampler.type': 'DefaultSampler',
            'train_dataloader.batch_size': 7,
            'train_dataloader.drop_last': True,
        },
        {'val_evaluator.type': 'OwnMetric'},
        {'val_evaluator': [dict(type='IoUMetric'), dict(type='OwnMetric')]},
        {'default_hooks.checkpoint.save_best': 'auto', 'val_evaluator.iou_metrics': ['mDice']},
        {'default_hooks.checkpoint.save_best': 'night/mIoU', 'val_evaluator.prefix': 'night'},
        {'val_cfg': None, 'val_evaluator.iou_metrics': ['mDice']},
        {'val_cfg': None, 'model.test_cfg': None},
        {'model.data_preprocessor.mean': [0.0], 'model.data_preprocessor.std': [255.0]},
        {'model.data_preprocessor.mean': None, 'model.data_preprocessor.std': None},
        {'model.type': 'MyEncoderDecoder', f'{DECODE}.num_classes': 3},
    ],
    ids=lambda options: ' '.join(options)[:60],
)
def test_passed(cfg: Config, options: dict) -> None:
    cfg.merge_from_dict(options)
    check(cfg)


def test_class_weights_of_a_file(cfg: Config, tmp_path: Path) -> None:
    np.save(tmp_path / 'w.npy', np.ones(8))
    cfg.model.decode_head.loss_decode.class_weight = str(tmp_path / 'w.npy')
    check(cfg)
    np.save(tmp_path / 'w.npy', np.ones(150))
    with pytest.raises(ValueError, match='class_weight has 150 numbers'):
        check(cfg)


def test_classes_of_data_sets(tmp_path: Path) -> None:
    drawn = ConfigDict(type='DrawnDataset')
    assert find_classes(drawn)[:2] == ['ground', 'disc']
    assert find_classes(ConfigDict(type='mmseg.ADE20KDataset'))[0] == 'wall'
    assert find_classes(ConfigDict(type='ConcatDataset', datasets=[drawn]))[1] == 'disc'
    assert find_classes(ConfigDict(type='RepeatDataset', dataset=drawn))[1] == 'disc'
    assert find_classes(ConfigDict(type='BaseSegDataset')) is None
    assert find_classes(ConfigDict(type='Unknown')) is None
    (tmp_path / 'classes.txt').write_text('sky\nrail way\n')
    of_file = ConfigDict(
        type='BaseSegDataset', metainfo=dict(classes=str(tmp_path / 'classes.txt'))
    )
    assert find_classes(of_file) == ['sky', 'rail way']
