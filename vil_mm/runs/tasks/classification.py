"""Runs of mmpretrain's classifiers."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config, ConfigDict

from vil_mm.layers import POOLINGS
from vil_mm.models.backbones.options import read_arch
from vil_mm.runs.nested import as_list
from vil_mm.runs.tasks.drawing import use_picture_hook as draw_predictions

__all__ = ['SCOPE', 'check', 'draw_predictions', 'prepare', 'write_predictions']

SCOPE = 'mmpretrain'


def prepare(cfg: Config, *splits: str) -> None:
    """Classifiers need no preparation."""


def check(cfg: Config, *splits: str) -> None:
    """Fail if options of a ViL classifier contradict each other.

    Raises:
        ValueError: Names both options.
    """
    model = cfg.model
    if model.get('type') == 'ImageClassifier' and model.backbone.get('type') == 'VisionLSTM':
        if model.get('head', {}).get('type') == 'LinearClsHead':
            _check_width(model.backbone, model.head)
        if (model.get('train_cfg') or {}).get('augments'):
            _check_mixing(cfg)


def _check_width(backbone: ConfigDict, head: ConfigDict) -> None:
    arch, out_type = backbone.get('arch', 'tiny'), backbone.get('out_type', 'featmap')
    if out_type not in POOLINGS:
        raise ValueError(
            f'model.backbone.out_type={out_type!r} does not pool, but a LinearClsHead needs a '
            f'pooled vector; choose one of {", ".join(POOLINGS)}'
        )
    width = POOLINGS[out_type] * read_arch(arch)[0]
    if head.in_channels != width:
        raise ValueError(
            f'model.head.in_channels={head.in_channels}, but model.backbone with arch={arch!r} and '
            f'out_type={out_type!r} gives {width} channels'
        )


def _check_mixing(cfg: Config) -> None:
    wanted, given = cfg.model.head.num_classes, cfg.get('data_preprocessor', {}).get('num_classes')
    if wanted != given:
        raise ValueError(
            f'model.head.num_classes={wanted}, but data_preprocessor.num_classes={given}: '
            'mixed labels are vectors of that length, so both must be equal'
        )
    batch_size = (cfg.get('train_dataloader') or {}).get('batch_size', 2)
    if batch_size % 2 and 'Reversed' in str(cfg.model.train_cfg.augments):
        raise ValueError(
            f'train_dataloader.batch_size={batch_size}: images are mixed in pairs, so each '
            'process needs an even batch size'
        )


def write_predictions(cfg: Config, folder: str) -> None:
    """Make a test write ``predictions.npz``, see ``DumpClassPredictions``."""
    dump = {'type': 'DumpClassPredictions', 'out_file': str(Path(folder, 'predictions.npz'))}
    cfg.test_evaluator = [*as_list(cfg.test_evaluator), dump]
