"""What runs of mmdetection's detectors need beyond those of every task."""

from __future__ import annotations

import importlib
from pathlib import Path

from mmengine.config import Config

from vil_mm.errors import ArgumentError
from vil_mm.runs.tasks.drawing import use_picture_hook as draw_predictions

__all__ = [
    'DETECTION_PAGE', 'SCOPE', 'check', 'check_detection', 'draw_predictions', 'prepare',
    'use_own_annotations', 'write_predictions',
]  # fmt: skip

SCOPE = 'mmdet'
DETECTION_PAGE = 'docs/other_tasks.md'


def prepare(cfg: Config, *splits: str) -> None:
    """Fail without mmdetection; let metrics read the annotations of the data they judge, in place.

    Raises:
        ValueError: A package is missing.
    """
    check_detection(cfg)
    use_own_annotations(cfg, *splits)


def check(cfg: Config, *splits: str) -> None:
    """There is nothing to check."""


def check_detection(cfg: Config) -> None:
    """Fail if mmdetection or mmcv's compiled operators, which all its models use, are missing.

    Raises:
        ValueError: Says which and how to install it.
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
                f'install {cure}; {DETECTION_PAGE} tells how'
            ) from error


def use_own_annotations(cfg: Config, *splits: str) -> None:
    """Let COCO metrics read the annotation file of the data that they judge, in place.

    A config names that file twice, so that the metric would go on reading the old one when
    ``dataset.data_root`` or ``ann_file`` is overridden.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        dataset = loader.dataset if loader else {}
        for metric in coco_metrics(cfg.get(f'{split}_evaluator')) if 'ann_file' in dataset else ():
            metric.ann_file = str(Path(dataset.get('data_root') or '', dataset.ann_file))


def write_predictions(cfg: Config, folder: str) -> None:
    """Let a test write ``predictions.bbox.json`` and ``predictions.segm.json``, in place.

    The second where there are masks. They are COCO's lists of results, boxes as (x, y, width,
    height) in pixels of the image.

    Raises:
        ValueError: No metric of the test is a ``CocoMetric``.
    """
    metrics = coco_metrics(cfg.test_evaluator)
    if not metrics:
        raise ArgumentError('works with a CocoMetric as test_evaluator of a detector', out=folder)
    metrics[0].outfile_prefix = str(Path(folder, 'predictions'))


def coco_metrics(evaluator: dict | list[dict] | None) -> list[dict]:
    """Those of an evaluator's metrics that read COCO's annotation files."""
    metrics = [evaluator] if isinstance(evaluator, dict) else evaluator or []
    return [metric for metric in metrics if metric['type'] in ('CocoMetric', 'mmdet.CocoMetric')]
