"""Runs of mmdetection's detectors."""

from __future__ import annotations

import importlib
from pathlib import Path

from mmengine.config import Config

from vil_mm.errors import ArgumentError
from vil_mm.runs.nested import as_list
from vil_mm.runs.tasks.drawing import use_picture_hook as draw_predictions

__all__ = [
    'DETECTION_PAGE', 'SCOPE', 'check', 'check_detection', 'draw_predictions', 'prepare',
    'use_own_annotations', 'write_predictions',
]  # fmt: skip

SCOPE = 'mmdet'
DETECTION_PAGE = 'docs/other_tasks.md'


def prepare(cfg: Config, *splits: str) -> None:
    """Check that mmdetection is installed; point metrics at their data's annotations, in place.

    Raises:
        ValueError: A package is missing.
    """
    check_detection(cfg)
    use_own_annotations(cfg, *splits)


def check(cfg: Config, *splits: str) -> None:
    """Detectors have no further checks."""


def check_detection(cfg: Config) -> None:
    """Fail if mmdetection or mmcv's compiled operators, which all its models use, are missing.

    Raises:
        ValueError: Names the package and how to install it.
    """
    for module, cure in (
        ('mmcv.ops', 'an mmcv with compiled operators (the default install has none)'),
        ('mmdet', "mmdetection: pip install 'vil_mm[det]'"),
    ):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(
                f'this config is for mmdetection, but {module} cannot be imported ({error}): '
                f'install {cure}; see {DETECTION_PAGE}'
            ) from error


def use_own_annotations(cfg: Config, *splits: str) -> None:
    """Make COCO metrics read the annotation file of the data they evaluate, in place.

    A config names that file twice: the metric would keep the old one if ``dataset.data_root`` or
    ``ann_file`` is overridden.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        dataset = loader.dataset if loader else {}
        if 'ann_file' in dataset:
            for metric in find_coco_metrics(cfg.get(f'{split}_evaluator')):
                metric.ann_file = str(Path(dataset.get('data_root') or '', dataset.ann_file))


def write_predictions(cfg: Config, folder: str) -> None:
    """Make a test write ``predictions.bbox.json`` and, with masks, ``predictions.segm.json``.

    Both hold lists of results in COCO's format, with boxes (x, y, width, height) in pixels.

    Raises:
        ValueError: The test has no ``CocoMetric``.
    """
    metrics = find_coco_metrics(cfg.test_evaluator)
    if not metrics:
        raise ArgumentError('needs a CocoMetric in test_evaluator of a detector', out=folder)
    metrics[0].outfile_prefix = str(Path(folder, 'predictions'))


def find_coco_metrics(evaluator: dict | list[dict] | None) -> list[dict]:
    """The metrics of an evaluator that read COCO annotation files."""
    return [x for x in as_list(evaluator) if x['type'] in ('CocoMetric', 'mmdet.CocoMetric')]
