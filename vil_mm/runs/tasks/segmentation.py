"""Runs of mmsegmentation's segmentors."""

from __future__ import annotations

from mmengine.config import Config

from vil_mm.errors import ArgumentError
from vil_mm.runs.segmentor_checks import check_segmentor as check
from vil_mm.runs.tasks.drawing import use_picture_hook as draw_predictions

__all__ = ['SCOPE', 'check', 'draw_predictions', 'prepare', 'write_predictions']

SCOPE = 'mmseg'


def prepare(cfg: Config, *splits: str) -> None:
    """Segmentors need no preparation."""


def write_predictions(cfg: Config, folder: str) -> None:
    """Make a test write label maps (PNG).

    Raises:
        ValueError: The config has several evaluators.
    """
    if not isinstance(cfg.test_evaluator, dict):
        raise ArgumentError('needs a single test_evaluator, not a list', out=folder)
    cfg.test_evaluator.update(output_dir=folder, keep_results=True)
