"""Types and options of a config that do not exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

import vil_mm
from vil_mm.runs.reading import read_config
from vil_mm.runs.spelling import check_spelling

PATHS = sorted(vil_mm.CONFIG_DIR.rglob('[!_]*.py'))
CAMVID = vil_mm.CONFIG_DIR / 'upernet_vil_t_camvid_cpu.py'


@pytest.mark.parametrize(
    'path', [p for p in PATHS if '_base_' not in p.parts], ids=lambda p: p.stem
)
def test_every_config_passes(path: Path) -> None:
    check_spelling(Config.fromfile(path))


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'model.decode_head.type': 'UperHead'}, "decode_head.type='UperHead'.* mean 'UPerHead'"),
        ({'model.decode_head.num_clases': 3}, r"\(UPerHead\) has no 'num_clases'.*'num_classes'"),
        ({'optim_wrapper.optimizer.type': 'AdamX'}, "mean 'Adam"),
        ({'val_evaluator.type': 'IouMetric'}, "val_evaluator.type.* mean 'IoUMetric'"),
        ({'val_evaluator.iou_metric': ['mIoU']}, "mean 'iou_metrics'"),
        ({'train_dataloader.batchsize': 2}, "train_dataloader has no 'batchsize'.*'batch_size'"),
        ({'train_dataloader.dataset.img_sufix': '.png'}, "mean 'img_suffix'"),
        ({'train_dataloader.dataset.pipeline.0.type': 'LoadImageFromfile'}, 'LoadImageFromFile'),
        ({'default_hooks.checkpoint.intervall': 2}, "mean 'interval'"),
        ({'custom_hooks': [dict(type='EMAHok')]}, "custom_hooks.0.type='EMAHok'.*'EMAHook'"),
    ],
)  # fmt: skip
def test_refused(options: dict, words: str) -> None:
    cfg = Config.fromfile(CAMVID)
    cfg.merge_from_dict(options)
    with pytest.raises(ValueError, match=words) as error:
        check_spelling(cfg)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'options',
    [
        {'model.decode_head': dict(type='HeadOfMyOwn', anything=1)},
        {'train_dataloader.dataset': dict(type='my_package.Photos', place='x')},
        {'train_dataloader.dataset.pipeline': [
            dict(type='Albu', transforms=[dict(type='RandomCrop', height=8, width=8)])
        ]},
    ],
)  # fmt: skip
def test_what_others_define_passes(options: dict) -> None:
    cfg = Config.fromfile(CAMVID)
    cfg.merge_from_dict(options)
    check_spelling(cfg)


def test_a_data_root_that_nothing_reads(tmp_path: Path, capsys) -> None:
    base = f'_base_ = {str(CAMVID)!r}\n'
    (tmp_path / 'own.py').write_text(f"{base}data_root = 'photos'\n")
    read_config(tmp_path / 'own.py')
    assert (
        "data_root='photos' has no effect, the data sets read 'data/camvid'"
        in capsys.readouterr().err
    )
    loader = 'dict(dataset=dict(data_root=data_root))'
    (tmp_path / 'own.py').write_text(f"{base}data_root = 'photos'\ntrain_dataloader = {loader}\n")
    read_config(tmp_path / 'own.py')
    read_config(CAMVID)
    assert capsys.readouterr().err == ''
