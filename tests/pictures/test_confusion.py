"""Confusion matrices: counts by hand, label maps as the test tool writes them, the picture."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vil_mm.pictures import confusion as module
from vil_mm.pictures.confusion import (
    classifier_confusion,
    count_confusion,
    most_confused,
    normalise,
    plot_confusion,
)
from vil_mm.runs.reading import read_config

MATRIX = np.array([[8, 2, 0], [0, 0, 0], [3, 1, 4]])


def test_shares_of_the_true_class() -> None:
    shares = normalise(MATRIX)
    assert shares[0].tolist() == [0.8, 0.2, 0] and shares[2].tolist() == [0.375, 0.125, 0.5]
    assert np.isnan(shares[1]).all(), 'a class that does not occur'


def test_most_confused_pairs() -> None:
    pairs = most_confused(MATRIX, ['a', 'b', 'c'], 2)
    assert [(p.truth, p.taken_for, p.share, p.count) for p in pairs] == [
        ('c', 'a', 0.375, 3),
        ('a', 'b', 0.2, 2),
    ]
    assert len(most_confused(MATRIX, ['a', 'b', 'c'], 9)) == 3
    assert most_confused(np.diag([3, 2]), ['a', 'b'], 5) == []


def test_classifier() -> None:
    answers = [(0, 0), (0, 2), (2, 2), (2, 2)]  # truth, prediction
    predictions = dict(zip(('gt_label', 'pred_label'), np.array(answers).T, strict=True))
    assert classifier_confusion(predictions, 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 2]]
    with pytest.raises(ValueError, match='other classes than the 2'):
        classifier_confusion(predictions, 2)
    with pytest.raises(ValueError, match='contain no image'):
        classifier_confusion({key: x[:0] for key, x in predictions.items()}, 2)


def maps_from_truth(drawn_data: Path, folder: Path, change=lambda labels: labels) -> Path:
    folder.mkdir()
    for path in (drawn_data / 'annotations' / 'validation').iterdir():
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(folder / path.name), change(np.maximum(labels, 1)))
    return folder


def test_label_maps_are_numbered_as_annotations(tiny_config, drawn_data, tmp_path) -> None:
    """Truth as prediction gives a diagonal; one class taken for another moves its whole row."""
    cfg, seen = read_config(str(tiny_config)), []
    right = maps_from_truth(drawn_data, tmp_path / 'right')
    matrix, classes = count_confusion(cfg, right, lambda *told: seen.append(told[1:]))
    assert seen == [(1, 3), (2, 3), (3, 3)] and len(classes) == len(matrix)
    assert matrix.sum() > 0 and matrix.sum() == np.trace(matrix)
    wrong = maps_from_truth(
        drawn_data, tmp_path / 'wrong', lambda labels: np.where(labels == 1, 2, labels)
    )
    moved, _ = count_confusion(cfg, wrong)
    assert moved[0, 1] == matrix[0, 0] > 0 and moved[0, 0] == 0
    assert moved[1:].tolist() == matrix[1:].tolist()


def test_what_are_no_predictions(tiny_config, drawn_data, tmp_path) -> None:
    cfg = read_config(str(tiny_config))
    with pytest.raises(FileNotFoundError, match='no such checkpoint or predictions: nowhere'):
        count_confusion(cfg, 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match=r'no label map .*test\.py CONFIG CHECKPOINT --out'):
        count_confusion(cfg, tmp_path / 'empty')
    wild = maps_from_truth(drawn_data, tmp_path / 'wild', lambda labels: labels + 100)
    with pytest.raises(ValueError, match='is not a map of the 8 classes'):
        count_confusion(cfg, wild)


def test_what_are_no_predictions_of_a_classifier(tiny_config, tmp_path) -> None:
    """No content runs code, takes much memory or ends in a traceback."""
    cfg, file, ran = read_config(str(tiny_config)), tmp_path / 'bad.npz', tmp_path / 'ran'
    labels = np.zeros(3, np.int64)
    archives = [
        dict(pred_label=labels),
        dict(pred_label=labels, gt_label=labels[:2]),
        dict(pred_label=labels, gt_label=labels.astype(float)),
        dict(pred_label=labels[None], gt_label=labels[None]),
        dict(pred_label=labels, gt_label=np.array([_Evil(ran)] * 3, dtype=object)),
    ]
    contents = [b'no archive', b'PK', b'', pickle.dumps(_Evil(ran)), pickle.dumps(3)]
    for archive in archives:
        np.savez(file, **archive)
        contents.append(file.read_bytes())
    contents.append(contents[-1][:100])
    zeros = np.zeros(10**7, np.int64)
    np.savez_compressed(file, pred_label=zeros, gt_label=zeros)
    for content in (file.read_bytes(), *contents):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="does not hold a classifier's predictions"):
            count_confusion(cfg, file)
    assert not ran.exists()


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize(
    ('classes', 'least'), [(3, 800), pytest.param(150, 3000, marks=pytest.mark.slow)]
)
def test_picture_grows_with_the_classes(tmp_path, classes, least) -> None:
    matrix = np.random.default_rng(0).integers(0, 9, (classes, classes))
    names = [f'class number {i}' for i in range(classes)]
    path = plot_confusion(matrix, names, tmp_path / 'new' / 'matrix.png', title='run')
    with Image.open(path) as picture:
        assert picture.size[0] > least


def test_unknown_colour_map(tmp_path) -> None:
    with pytest.raises(ValueError, match='not a colour map'):
        plot_confusion(MATRIX, ['a', 'b', 'c'], tmp_path / 'm.png', title='run', cmap='muddy')


@pytest.mark.parametrize('classes', [8, 40])
def test_all_can_be_read(tmp_path, monkeypatch, classes) -> None:
    """Title and axes are inside the picture; of many classes the worst pairs stand beside it."""
    figures = []
    monkeypatch.setattr(module, 'save_figure', lambda figure, *_, **__: figures.append(figure))
    matrix = np.random.default_rng(0).integers(1, 9, (classes, classes))
    matrix[3, 5] = 100
    names = [f'class number {i}' for i in range(classes)]
    plot_confusion(matrix, names, tmp_path / 'm.png', title='my_run, iter_4.pth')
    (figure,) = figures
    figure.canvas.draw()
    matrix_axes, beside = figure.axes[0], figure.axes[1]
    assert figure.get_suptitle() == 'my_run, iter_4.pth'
    texts = [*figure.texts, matrix_axes.xaxis.label, matrix_axes.yaxis.label, *beside.texts]
    page = figure.bbox.padded(1)
    for text in texts:
        box = text.get_window_extent()
        assert page.contains(*box.min) and page.contains(*box.max), text.get_text()
    listed = [text.get_text() for text in beside.texts]
    assert len(listed) == (0 if classes == 8 else module.LISTED)
    if listed:
        assert listed[0].endswith('class number 3 → class number 5')
