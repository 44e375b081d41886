"""Captions of classified images stay inside and begin with the name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from vil_mm.engine import captions
from vil_mm.engine.captions import draw_classes

CLASSES = ['tench', 'a very long name of a class that no small picture has the room for']


def sample(label: int) -> DataSample:
    scores = torch.tensor([0.25, 0.75])
    return DataSample().set_gt_label(0).set_pred_label(label).set_pred_score(scores)


@pytest.fixture
def written(monkeypatch) -> list[tuple[str, int]]:
    """Lines that are drawn, and how wide the picture is there."""
    said, captioned = [], captions._cut

    def cut(line: str, width: int, size: int) -> str:
        said.append(captioned(line, width, size))
        assert captions._width([said[-1]], size) <= width
        return said[-1]

    monkeypatch.setattr(captions, '_cut', cut)
    return said


@pytest.mark.parametrize(
    ('size', 'shape'), [((32, 32), (224, 224)), ((300, 200), (300, 200)), ((8, 40), (224, 1120))]
)
def test_small_images_are_enlarged(written, size, shape) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    picture = draw_classes(image, sample(1), CLASSES)
    assert picture.shape == (*shape, 3) and (picture[-1] == 200).all()
    assert (picture[:20, :20] < 200).any()
    assert written[0] == 'truth: tench (class 0)'
    assert written[1].startswith('predicted: a very long')
    assert written[1].endswith('…') or written[1].endswith('0.75 (class 1)')


def test_what_is_written(written) -> None:
    image = np.zeros((224, 400, 3), np.uint8)
    draw_classes(image, sample(0), CLASSES, draw_gt=False)
    draw_classes(image, sample(0), None, draw_gt=False)
    draw_classes(image, DataSample().set_gt_label([0, 1]), None)
    assert written == ['tench 0.25 (class 0)', 'class 0 0.25', 'truth: class 0', 'truth: class 1']
    assert (draw_classes(image, DataSample(), CLASSES) == 0).all(), 'nothing to write'


def test_a_strip_is_not_made_huge() -> None:
    assert draw_classes(np.zeros((1, 3000, 3), np.uint8), sample(0), CLASSES).shape == (1, 3000, 3)
