"""Guesses without a model: scores worked out by hand, and the way from a config."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from vil_mm.datasets.label_maps import resize_nearest
from vil_mm.measure.priors import count_labels, prior_scores, score


def maps(*rows: list) -> list[np.ndarray]:
    return [np.array(x, np.uint8) for x in rows]


def test_score_by_hand():
    guess = np.array([[0, 1], [1, 1]], np.uint8)
    # against the label: class 0 hits 1 of a union of 2, class 1 hits 2 of a union of 3
    got = score(guess, maps([[0, 0], [1, 1]]), num_classes=2)
    assert got.mIoU == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert got.aAcc == pytest.approx(75)


def test_score_sums_areas_before_dividing():
    # class 0: 1 + 2 hits, unions 1 + 4; class 1: no hit
    got = score(np.array([[0]], np.uint8), maps([[0]], [[0, 0], [1, 1]]), num_classes=2)
    assert got.mIoU == pytest.approx(100 * (3 / 5 + 0) / 2)
    assert got.aAcc == pytest.approx(60)


def test_score_leaves_out_ignored_pixels_and_absent_classes():
    got = score(np.array([[0]], np.uint8), maps([[0, 255], [255, 1]]), num_classes=9)
    assert got.mIoU == pytest.approx(100 * (1 / 2 + 0) / 2)
    assert got.aAcc == pytest.approx(50)


def test_counts_by_hand():
    counts = count_labels(maps([[0, 1], [2, 255]], [[2, 1], [2, 255]]), 3, grid=(2, 2))
    assert counts.pixels.tolist() == [1, 2, 3]
    assert counts.most_frequent_class() == 2
    # a tie goes to the lower class, a place without labels to the most frequent class of all
    assert counts.position_prior().tolist() == [[0, 1], [2, 2]]


def test_counts_without_labels():
    with pytest.raises(ValueError, match='no pixel'):
        count_labels(maps([[255, 255]]), 3, grid=(2, 2))


def test_resize_nearest_keeps_the_sides_apart():
    small = np.array([[0, 1], [2, 3]], np.uint8)
    large = resize_nearest(small, (4, 6))
    assert large.tolist() == [[0] * 3 + [1] * 3] * 2 + [[2] * 3 + [3] * 3] * 2
    assert np.array_equal(resize_nearest(large, (2, 2)), small)


def write_split(root: Path, split: str, annotations: list[np.ndarray]) -> dict:
    for folder in ('images', 'annotations'):
        (root / folder / split).mkdir(parents=True)
    for i, labels in enumerate(annotations):
        Image.fromarray(labels).save(root / 'annotations' / split / f'{i}.png')
        (root / 'images' / split / f'{i}.jpg').touch()
    prefix = dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}')
    metainfo = dict(classes=('sky', 'street'))
    dataset = dict(type='BaseSegDataset', data_root=str(root), data_prefix=prefix)
    return dict(dataset=dict(dataset, metainfo=metainfo, reduce_zero_label=True))


def test_prior_scores_of_a_config(tmp_path):
    # on disk 0 is unlabelled; sky above street, and a little more sky than street
    train = maps([[1, 1], [1, 1], [2, 2]], [[1, 1], [2, 2], [2, 0]])
    val = maps([[1, 1, 1, 1], [2, 2, 2, 0]])
    cfg = Config(
        dict(
            default_scope='mmseg',
            train_dataloader=write_split(tmp_path, 'training', train),
            val_dataloader=write_split(tmp_path, 'validation', val),
        )
    )
    scores = prior_scores(cfg, grid=(2, 2))
    assert scores['most frequent class'].mIoU == pytest.approx(100 * (4 / 7 + 0) / 2)
    assert scores['most frequent class'].aAcc == pytest.approx(100 * 4 / 7)
    assert scores['position prior'] == pytest.approx((100, 100))
