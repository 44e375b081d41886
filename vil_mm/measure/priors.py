"""Scores of guesses that ignore the image, baselines for a segmentor.

One predicts the most frequent class of the training set for every pixel, the other the most
frequent class at each position. A model must beat both by far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from mmseg.evaluation import IoUMetric

from vil_mm.datasets.checks import mask_loader
from vil_mm.datasets.label_maps import IGNORE_INDEX, resize_nearest
from vil_mm.runs.tasks import registry_scope


class Score(NamedTuple):
    """Mean IoU over the classes that occur, and pixel accuracy, in percent."""

    mIoU: float
    aAcc: float


@dataclass(frozen=True)
class LabelCounts:
    """Frequencies of classes in a set of label maps.

    Attributes:
        pixels: ``(K,)``, over all pixels.
        cells: ``(Gh, Gw, K)``, in each cell of a grid laid over every map.
    """

    pixels: np.ndarray
    cells: np.ndarray

    def most_frequent_class(self) -> int:
        return int(self.pixels.argmax())

    def position_prior(self) -> np.ndarray:
        """Most frequent class of each cell, ``(Gh, Gw)``, uint8; of all cells if one is empty."""
        seen = self.cells.any(axis=-1)
        prior = np.where(seen, self.cells.argmax(axis=-1), self.most_frequent_class())
        return prior.astype(np.uint8)


def prior_scores(cfg: Config, grid: tuple[int, int] = (32, 32)) -> dict[str, Score]:
    """Fit both guesses to a config's training set and score them on its validation set.

    Args:
        cfg: A config for mmseg; only its training and validation data sets are built, and no image
            is read.
        grid: Rows and columns of the position grid.

    Returns:
        ``{'most frequent class': Score, 'position prior': Score}``.

    Raises:
        ValueError: The training set has no labelled pixel.
    """
    with registry_scope(cfg):
        train, val = (DATASETS.build(cfg[f'{s}_dataloader']['dataset']) for s in ('train', 'val'))
    num_classes = len(train.metainfo['classes'])
    counts = count_labels(label_maps(train), num_classes, grid)
    guesses = {
        'most frequent class': np.array([[counts.most_frequent_class()]], np.uint8),
        'position prior': counts.position_prior(),
    }
    return {name: score(guess, label_maps(val), num_classes) for name, guess in guesses.items()}


def label_maps(dataset: BaseDataset) -> Iterator[np.ndarray]:
    """Yield the label maps ``(H, W)``, uint8, of an mmseg data set as its pipeline loads them."""
    load = mask_loader(dataset)
    for i in range(len(dataset)):
        yield load(dataset.get_data_info(i))['gt_seg_map']


def count_labels(
    maps: Iterable[np.ndarray], num_classes: int, grid: tuple[int, int]
) -> LabelCounts:
    """Count classes over all pixels and in each cell (its nearest pixel) of ``grid``.

    Raises:
        ValueError: No pixel has a class.
    """
    pixels = np.zeros(num_classes, np.int64)
    cells = np.zeros((*grid, num_classes), np.int64)
    for labels in maps:
        pixels += np.bincount(labels.ravel(), minlength=256)[:num_classes]
        small = resize_nearest(labels, grid)
        rows, columns = np.nonzero(small < num_classes)
        cells[rows, columns, small[rows, columns]] += 1
    if not pixels.any():
        raise ValueError(f'no pixel belongs to any of the {num_classes} classes')
    return LabelCounts(pixels, cells)


def score(guess: np.ndarray, maps: Iterable[np.ndarray], num_classes: int) -> Score:
    """Score one guess on all label maps, exactly as mmseg's ``IoUMetric`` scores a model.

    Args:
        guess: ``(Gh, Gw)``, uint8, resized to each map by nearest neighbour.
        maps: Label maps ``(H, W)``, uint8, 255 for no class.
        num_classes: Number of classes; the mean skips those in neither guess nor maps.
    """
    totals: list[torch.Tensor | int] = [0, 0, 0, 0]
    for labels in maps:
        pair = (torch.from_numpy(x) for x in (resize_nearest(guess, labels.shape), labels))
        areas = IoUMetric.intersect_and_union(*pair, num_classes, IGNORE_INDEX)
        totals = [total + area for total, area in zip(totals, areas, strict=True)]
    metrics = IoUMetric.total_area_to_metrics(*totals)
    return Score(*(100 * float(np.nanmean(metrics[name])) for name in ('IoU', 'aAcc')))
