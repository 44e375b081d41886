"""Errors of a segmentor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from vil_mm.pictures.errors import IGNORED, RIGHT, WRONG, Result, check_indices, draw_errors

META = {'classes': ('sky', 'road', 'tree'), 'palette': [[0, 0, 255], [90, 90, 90], [0, 255, 0]]}


def result(seed: int = 0) -> Result:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, (20, 30)).astype(np.uint8)
    prediction = np.where(generator.random((20, 30)) < 0.3, 1, truth).astype(np.uint8)
    truth[:4] = 255
    image = generator.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    return Result('a.png', image, truth, prediction, 3)


def test_a_map_by_hand() -> None:
    truth, prediction = np.array([[0, 1, 255]], np.uint8), np.array([[0, 2, 1]], np.uint8)
    errors = Result('x', np.zeros((1, 3, 3), np.uint8), truth, prediction, 3).errors()
    assert errors.tolist() == [[RIGHT, WRONG, IGNORED]]


def test_counts_are_those_of_iou() -> None:
    one = result()
    pair = (torch.from_numpy(x) for x in (one.prediction, one.truth))
    intersect, _, _, label = IoUMetric.intersect_and_union(*pair, 3, 255)
    errors = one.errors()
    assert (errors == RIGHT).sum() == intersect.sum()
    assert (errors != IGNORED).sum() == label.sum() == 16 * 30
    miou, accuracy = one.scores()
    assert accuracy == pytest.approx(100 * (errors == RIGHT).sum() / (16 * 30))
    union = [((one.prediction == k) | (one.truth == k))[one.truth < 255].sum() for k in range(3)]
    assert miou == pytest.approx(100 * np.mean(intersect.numpy() / union))


def test_perfect_prediction() -> None:
    one = result()
    same = one._replace(prediction=one.truth.copy())
    assert same.scores() == (100, 100) and not (same.errors() == WRONG).any()


def test_figure_has_scores_and_a_legend() -> None:
    figure = draw_errors([result(0), result(1)], META, 'a title')
    titles = [ax.get_title() for ax in figure.axes]
    miou, accuracy = result(1).scores()
    assert titles[7] == f'mIoU {miou:.1f} %, {accuracy:.1f} % of pixels right'
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [*META['classes'], 'right', 'wrong', 'no class given']


def test_index_beyond_the_data() -> None:
    check_indices([1, 2, 3], [0, 2])
    with pytest.raises(ValueError, match='index=3: the test data has 3 images, 0 to 2'):
        check_indices([1, 2, 3], [3])
