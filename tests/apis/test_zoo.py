"""The model zoo and the configs: the same models, with the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import vil_mm
from vil_mm.apis import ModelRecord, find_config, find_model, list_models

CONFIGS = {
    path.stem: path
    for path in vil_mm.CONFIG_DIR.rglob('*.py')
    if '_base_' not in path.relative_to(vil_mm.CONFIG_DIR).parts
}
RECORDS = {name: find_model(name) for name in list_models()}
# several configs train one model; it is counted once
MODELS_OF = {}
for _record in RECORDS.values():
    MODELS_OF.setdefault(_record.metadata['Parameters'], _record)


def test_every_config_has_a_record_of_its_name() -> None:
    named = {record.name for record in RECORDS.values() if record.config.stem == record.name}
    assert named == set(CONFIGS)
    assert all(record.config.is_file() for record in RECORDS.values())


def test_a_record_of_another_name_has_weights_of_its_own() -> None:
    others = [record for record in RECORDS.values() if record.config.stem != record.name]
    assert others and all(record.official_weights for record in others)
    weights = [record.official_weights for record in RECORDS.values() if record.official_weights]
    assert len(weights) == len(set(weights))


@pytest.mark.parametrize('record', MODELS_OF.values(), ids=lambda record: record.name)
def test_parameters_are_those_of_the_model(record: ModelRecord) -> None:
    cfg = Config.fromfile(record.config)
    if cfg.default_scope == 'mmdet':
        pytest.importorskip('mmdet.models', exc_type=ImportError)
    on_meta = cfg.model.backbone.type == 'VisionLSTM' and 'segmenter' not in record.name
    cfg.model.backbone.init_cfg = None
    scope = DefaultScope.overwrite_default_scope(cfg.default_scope)
    with scope, torch.device('meta' if on_meta else 'cpu'):
        model = MODELS.build(cfg.model)
    assert sum(x.numel() for x in model.parameters()) == record.metadata['Parameters']


def test_records_say_where_scores_come_from() -> None:
    for record in RECORDS.values():
        assert bool(record.metrics) == ('Results From' in record.metadata), record.name


@pytest.mark.parametrize(
    ('name', 'metrics'),
    [
        ('upernet_vil_t_512x512_ade20k', {'mIoU': 41.2, 'mIoU(ms+flip)': 43.1}),
        ('upernet_vil_s_512x512_ade20k', {'mIoU': 46.3, 'mIoU(ms+flip)': 47.9}),
        ('upernet_vil_b_512x512_ade20k', {'mIoU': 48.6, 'mIoU(ms+flip)': 49.6}),
        ('vil_t_in1k_eval', {'Top 1 Accuracy': 78.3}),
        ('vil_s_in1k_eval', {'Top 1 Accuracy': 81.5}),
        ('vil_b_in1k_eval', {'Top 1 Accuracy': 82.4}),
    ],
)
def test_published_scores(name: str, metrics: dict[str, float]) -> None:
    assert find_model(name).metrics == metrics


@pytest.mark.parametrize(
    'folder', sorted({path.parent for path in CONFIGS.values()}), ids=lambda folder: folder.name
)
def test_table_of_a_folder_tells_the_same(folder: Path) -> None:
    rows = (folder / 'README.md').read_text(encoding='utf-8').splitlines()
    table = {found[1]: row for row in rows if (found := re.match(r'\| \[`([^`]+)`\]', row))}
    records = [record for record in RECORDS.values() if record.config.parent == folder]
    assert set(table) == {record.name for record in records}
    for record in records:
        row, cfg = table[record.name], Config.fromfile(record.config)
        updates = cfg.get('train_cfg') and cfg.train_cfg.max_iters
        assert record.metadata.get('Iterations') == updates
        told = [f'({record.config.name})', f'{record.metadata["Parameters"]:,}', record.dataset]
        told += [str(score) for score in record.metrics.values()]
        if record.task == 'Semantic Segmentation':
            told += [' x '.join(map(str, cfg.crop_size))]
        if record.task == 'Image Classification':
            told += [f'| {cfg.model.backbone.img_size} |']
        told += [f'{updates:,} x ' if updates else '–', record.official_weights or '']
        assert all(part in row for part in told), record.name


def test_names_and_patterns() -> None:
    assert list_models('upernet_vil_?_512x512_ade20k') == [
        f'upernet_vil_{size}_512x512_ade20k' for size in 'bst'
    ]
    assert set(list_models(task='Image Classification')) < set(list_models())
    assert find_model('UperNet_ViL_T_512x512_ADE20K').name == 'upernet_vil_t_512x512_ade20k'


def test_config_by_name_or_path() -> None:
    path = CONFIGS['vil_t_in1k_eval']
    assert find_config('vil_t_in1k_eval') == find_config(path) == find_config(str(path)) == path


def test_unknown_name_and_missing_file() -> None:
    with pytest.raises(ValueError, match=r'did you mean .*vil_t_in1k_eval'):
        find_config('vil_t_in1k_evl')
    with pytest.raises(FileNotFoundError, match='config not found: configs/no_such'):
        find_config('configs/no_such.py')


@pytest.mark.parametrize('path', ['configs/vil_t_in1k_eval.py', '/elsewhere/vil_t_in1k_eval.py'])
def test_a_path_of_old_ends_with_the_new_one(path: str) -> None:
    with pytest.raises(FileNotFoundError, match=r'vil_t_in1k_eval is at \S*') as error:
        find_config(path)
    assert str(error.value).endswith('configs/imagenet/vil_t_in1k_eval.py')
    assert '\n' not in str(error.value)
