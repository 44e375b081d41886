"""What is set and refused for runs of detectors; none of it needs mmdetection."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from vil_mm import CONFIG_DIR
from vil_mm.engine.float_outputs_hook import float_outputs
from vil_mm.runs import launch
from vil_mm.runs.launch import prepare_testing, prepare_training
from vil_mm.runs.reading import read_config
from vil_mm.runs.tasks import detection
from vil_mm.runs.tasks.detection import check_detection, use_own_annotations

CONFIG = str(CONFIG_DIR / 'det' / 'mask_rcnn_vil_t_coco_cpu.py')


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if mmdetection were there: what follows does not import it, but for the data sets."""
    monkeypatch.setattr(launch, 'check_samples', lambda *_: None)
    monkeypatch.setattr(detection, 'importlib', SimpleNamespace(import_module=lambda name: None))


def write_data(root: Path) -> None:
    """A tree as that of COCO; nothing in it is read."""
    for split in ('train2017', 'val2017'):
        (root / split).mkdir(parents=True)
        (root / split / '0.jpg').touch()
        (root / 'annotations').mkdir(exist_ok=True)
        (root / 'annotations' / f'instances_{split}.json').touch()


@pytest.fixture
def cfg(tmp_path: Path, installed) -> Config:
    write_data(tmp_path / 'coco')
    roots = {
        f'{split}_dataloader.dataset.data_root': str(tmp_path / 'coco')
        for split in ('train', 'val', 'test')
    }
    return read_config(CONFIG, options=roots)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.save(dict(state_dict=dict(a=torch.ones(1))), tmp_path / 'weights.pth')
    return str(tmp_path / 'weights.pth')


@pytest.mark.parametrize('module', ['mmcv.ops', 'mmdet'])
def test_missing_packages_are_named(cfg, weights, monkeypatch, module):
    def fail(name):
        if name == module:
            raise ModuleNotFoundError(f'No module named {name!r}')

    fake = SimpleNamespace(import_module=fail)
    monkeypatch.setattr(detection, 'importlib', fake)
    expected = f'mmdetection, but {module} cannot be imported .No module named'
    with pytest.raises(ValueError, match=expected):
        prepare_training(cfg)
    with pytest.raises(ValueError, match=expected):
        prepare_testing(cfg, weights)


def test_installed_packages_pass():
    pytest.importorskip('mmdet')
    try:
        importlib.import_module('mmcv.ops')
    except ImportError:
        pytest.skip('mmcv has no compiled operators')
    check_detection(read_config(CONFIG))


def test_metrics_read_the_annotations_of_their_data(cfg, tmp_path):
    assert cfg.val_evaluator.ann_file == 'data/coco/annotations/instances_train2017.json'
    prepare_training(cfg)
    expected = str(tmp_path / 'coco' / 'annotations' / 'instances_train2017.json')
    assert cfg.val_evaluator.ann_file == expected


def test_metrics_in_a_list():
    coco, other = dict(type='CocoMetric', ann_file='old'), dict(type='DumpDetResults')
    cfg = Config(
        dict(
            test_dataloader=dict(dataset=dict(data_root='there', ann_file='a.json')),
            test_evaluator=[coco, other],
        )
    )
    use_own_annotations(cfg, 'val', 'test')
    assert [metric.get('ann_file') for metric in cfg.test_evaluator] == ['there/a.json', None]


def test_out_and_show_dir(cfg, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg.default_hooks.visualization.score_thr = 0.5
    prepare_testing(cfg, weights, out='boxes', show_dir='pictures')
    assert cfg.test_evaluator.outfile_prefix == 'boxes/predictions'
    drawn = cfg.default_hooks.visualization
    assert (drawn.type, drawn.out_dir, drawn.score_thr) == ('PictureHook', 'pictures', 0.5)


def test_out_without_a_metric_of_coco(cfg, weights, tmp_path):
    cfg.test_evaluator = dict(type='VOCMetric')
    with pytest.raises(ValueError, match=r'out=.*: needs a CocoMetric'):
        prepare_testing(cfg, weights, out=str(tmp_path / 'boxes'))


@pytest.mark.parametrize('missing', ['train2017', 'annotations/instances_train2017.json'])
def test_missing_data_is_named(cfg, tmp_path, missing):
    path = tmp_path / 'coco' / missing
    path.rename(path.with_name('elsewhere'))
    with pytest.raises(FileNotFoundError) as error:
        prepare_training(cfg)
    assert f'{path} is missing or empty' in str(error.value)
    assert 'See docs/other_tasks.md' in str(error.value)


class Detector(nn.Module):
    """Parts as mmdetection names them; their outputs are as nested as those of its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(dict(mask_head=nn.Linear(2, 2)))
        self.neck = nn.Linear(2, 2)
        self.rpn_head = Twice()
        self.roi_head = nn.Module()
        self.roi_head.bbox_head = nn.ModuleList([Twice(), Twice()])


class Twice(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)

    def forward(self, x: torch.Tensor) -> tuple:
        y = super().forward(x)
        return [y, (y, None)], torch.arange(2)


def test_neck_and_heads_return_float32():
    model = Detector()
    names = float_outputs(model)
    stages = ['roi_head.bbox_head.0', 'roi_head.bbox_head.1']
    assert [name for name in names if not name.endswith('bbox_head')] == [
        'neck', 'rpn_head', 'roi_head', *stages
    ]  # fmt: skip
    x = torch.randn(1, 2)
    with torch.autocast('cpu', torch.bfloat16):
        assert model.backbone['mask_head'](x).dtype == torch.bfloat16
        assert model.neck(x).dtype == torch.float32
        (y, (z, none)), index = model.roi_head.bbox_head[1](x)
    assert (y.dtype, z.dtype, none, index.dtype) == (
        torch.float32, torch.float32, None, torch.int64
    )  # fmt: skip
    rounded = y.to(torch.bfloat16).to(torch.float32)
    assert torch.equal(y, rounded), 'the layer itself has worked in bfloat16'


def test_a_model_without_neck_and_heads():
    with pytest.raises(ValueError, match='Linear has no neck and no heads'):
        float_outputs(nn.Linear(2, 2))
