"""Tasks of a run; each module implements :class:`Task`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mmengine.config import Config
from mmengine.registry import DefaultScope

from vil_mm.runs.tasks import classification, detection, segmentation


class Task(Protocol):
    """What a run needs from the module of its task."""

    SCOPE: str  # default scope in OpenMMLab's registries

    def prepare(self, cfg: Config, *splits: str) -> None:
        """Adapt the config in place to the task, or fail if the task cannot run here."""

    def check(self, cfg: Config, *splits: str) -> None:
        """Fail if training options contradict each other or the data."""

    def write_predictions(self, cfg: Config, folder: str) -> None:
        """Make a test write its predictions to a folder."""

    def draw_predictions(
        self, cfg: Config, folder: str | None, *, show: bool = False, wait_time: float = 0.0
    ) -> None:
        """Make a test draw its predictions into a folder or a window."""


def find_task(cfg: Config) -> Task:
    """The task of a config, by its model, or by its scope if there is no model."""
    scope, model = cfg.get('default_scope'), cfg.get('model') or {}
    if scope == detection.SCOPE:
        return detection
    if 'decode_head' in model:
        return segmentation
    if scope == classification.SCOPE or {'head', 'backbone'} <= set(model):
        return classification
    return segmentation


def refuse_detection(cfg: Config) -> None:
    """Fail if a config is for mmdetection, installed or not.

    Raises:
        ValueError: The config is for mmdetection.
    """
    if find_task(cfg) is detection:
        raise ValueError(
            f'{cfg.filename} is for detection, which is not supported here, only segmentation and '
            'classification; tools/test.py can draw what a detector finds'
        )


@contextmanager
def registry_scope(cfg: Config) -> Iterator[None]:
    """The registry scope in which a config's types are looked up."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or find_task(cfg).SCOPE):
        yield
