"""The tasks that a run can be of; each module answers the questions of :class:`Task`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mmengine.config import Config
from mmengine.registry import DefaultScope

from vil_mm.runs.tasks import classification, detection, segmentation


class Task(Protocol):
    """What a run asks the module of its task."""

    SCOPE: str  # of OpenMMLab's registries, where a config names none

    def prepare(self, cfg: Config, *splits: str) -> None:
        """Settle what the task needs for some splits, in place, or fail if it cannot run here."""

    def check(self, cfg: Config, *splits: str) -> None:
        """Fail if options of a training contradict each other or the data."""

    def write_predictions(self, cfg: Config, folder: str) -> None:
        """Let a test write its predictions, in place."""

    def draw_predictions(
        self, cfg: Config, folder: str | None, *, show: bool = False, wait_time: float = 0.0
    ) -> None:
        """Let a test draw its predictions, in place."""


def find_task(cfg: Config) -> Task:
    """The task of a config: by its model, or by its scope where there is none."""
    scope, model = cfg.get('default_scope'), cfg.get('model') or {}
    if scope == detection.SCOPE:
        return detection
    if 'decode_head' in model:
        return segmentation
    if scope == classification.SCOPE or {'head', 'backbone'} <= set(model):
        return classification
    return segmentation


def refuse_detection(cfg: Config) -> None:
    """Fail if a config is for mmdetection, whether that is installed or not.

    Raises:
        ValueError: It is.
    """
    if find_task(cfg) is detection:
        raise ValueError(
            f'{cfg.filename} is for detection, this tool is for segmentation and classification; '
            'tools/test.py CONFIG CHECKPOINT --show-dir DIR draws what a detector finds'
        )


@contextmanager
def registry_scope(cfg: Config) -> Iterator[None]:
    """The registry scope in which a config's types are looked up."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or find_task(cfg).SCOPE):
        yield
