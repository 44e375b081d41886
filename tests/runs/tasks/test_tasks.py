"""Which task a config is of, and that each task answers all questions."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from mmengine.config import Config

from vil_mm.apis import find_model, list_models
from vil_mm.runs.tasks import (
    Task,
    classification,
    detection,
    find_task,
    registry_scope,
    segmentation,
)

TASKS = {
    'Semantic Segmentation': segmentation,
    'Image Classification': classification,
    'Object Detection': detection,
}


def test_every_config_of_the_zoo() -> None:
    """One config a folder and task will do: reading all takes long."""
    seen: dict[tuple[str, Path], Path] = {}
    for name in list_models():
        record = find_model(name)
        seen.setdefault((record.task, record.config.parent), record.config)
    assert {task for task, _ in seen} == set(TASKS)
    for (task, _), config in seen.items():
        assert find_task(Config.fromfile(config)) is TASKS[task], config


@pytest.mark.parametrize(
    ('cfg', 'task'),
    [
        (dict(model=dict(decode_head={}, backbone={})), segmentation),
        (dict(model=dict(head={}, backbone={})), classification),
        (dict(default_scope='mmpretrain'), classification),
        (dict(default_scope='mmdet', model=dict(head={}, backbone={})), detection),
        (dict(), segmentation),
    ],
)
def test_models_and_scopes(cfg: dict, task: Task) -> None:
    assert find_task(Config(cfg)) is task


@pytest.mark.parametrize('task', TASKS.values(), ids=TASKS)
def test_every_task_answers(task: Task) -> None:
    questions = [name for name, _ in inspect.getmembers(Task, inspect.isfunction)]
    asked = [name for name in questions if not name.startswith('_')]
    assert asked == ['check', 'draw_predictions', 'prepare', 'write_predictions']
    assert all(callable(getattr(task, name)) for name in asked) and task.SCOPE
    with registry_scope(Config(dict(default_scope=task.SCOPE))):
        pass
