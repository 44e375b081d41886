"""Which classes a model takes for which: the confusion matrix of a segmentor or classifier."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.evaluation import ConfusionMatrix

from vil_mm.analysis.figures import new_figure, save_figure
from vil_mm.analysis.priors import resize_nearest
from vil_mm.analysis.whole_model import build_dataset, refuse_detection
from vil_mm.datasets.checks import mask_loader
from vil_mm.engine.checks import check_data
from vil_mm.engine.data import check_samples
from vil_mm.engine.launch import prepare_testing
from vil_mm.engine.processes import build_runner

INCHES_A_CLASS = 0.19
VALUES_UP_TO = 20  # classes for which numbers fit into the cells


class Confusion(NamedTuple):
    """A pair of classes and what share of the first is taken for the second."""

    truth: str
    taken_for: str
    share: float
    count: int


def confusion_of(
    cfg: Config, source: str | Path, progress: Callable[[int], None] = lambda total: None
) -> tuple[np.ndarray, list[str]]:
    """Count a model's answers on the test data of its config.

    Args:
        cfg: What ``read_config`` returned, of a segmentor or classifier.
        source: A checkpoint, which is tested first; or what ``tools/test.py --out`` has written:
            the folder of label maps, or a classifier's ``predictions.pkl``.
        progress: Is called after each label map with the number of all.

    Returns:
        Pixels or images ``(K, K)``, true class by row, int64; and the names of the classes.

    Raises:
        FileNotFoundError: Data, checkpoint or a label map are not there.
        ValueError: The config is for detection, or the predictions are not those of this config.
    """
    refuse_detection(cfg)
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f'neither checkpoint nor predictions: {source} is not there')
    if source.is_dir() or source.suffix == '.pkl':
        check_data(cfg, 'test')
        check_samples(cfg, 'test')
        dataset = build_dataset(cfg, 'test')
        classes = list(dataset.metainfo['classes'])
        if source.is_dir():
            return segmentor_confusion(source, dataset, progress), classes
        return classifier_confusion(_read(source), len(classes)), classes
    with tempfile.TemporaryDirectory() as folder:
        prepare_testing(cfg, str(source), out=folder)
        cfg.work_dir = str(Path(folder, 'work'))
        build_runner(cfg).test()
        file = Path(folder, 'predictions.pkl')
        return confusion_of(cfg, file if file.is_file() else folder, progress)


def segmentor_confusion(
    folder: Path, dataset: BaseDataset, progress: Callable[[int], None] = lambda total: None
) -> np.ndarray:
    """Pixels ``(K, K)`` of label maps, as ``tools/test.py --out`` numbers them, against the truth.

    Maps have the name of the image and are as large as the annotation, or are resized to it.

    Raises:
        FileNotFoundError: An image has no map.
        ValueError: A map has a class that is not one of the data set's.
    """
    num_classes, total = len(dataset.metainfo['classes']), len(dataset)
    first = int(getattr(dataset, 'reduce_zero_label', False))
    load = mask_loader(dataset)
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for i in range(total):
        info = dataset.get_data_info(i)
        path = folder / f'{Path(info["img_path"]).stem}.png'
        predicted = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
        if predicted is None:
            raise FileNotFoundError(
                f'no label map {path}; tools/test.py CONFIG CHECKPOINT --out {folder} makes them'
            )
        truth = load(info)['gt_seg_map']
        predicted = resize_nearest(predicted, truth.shape).astype(np.int64) - first
        known = truth < num_classes
        if (
            predicted.ndim != 2
            or not 0
            <= predicted[known].min(initial=0)
            <= predicted[known].max(initial=0)
            < num_classes
        ):
            raise ValueError(f'{path} is no map of the {num_classes} classes of this config')
        pairs = truth[known].astype(np.int64) * num_classes + predicted[known]
        matrix += np.bincount(pairs, minlength=num_classes**2).reshape(matrix.shape)
        progress(total)
    return matrix


def classifier_confusion(predictions: Sequence[dict], num_classes: int) -> np.ndarray:
    """Images ``(K, K)`` of mmpretrain's predicted samples.

    Raises:
        ValueError: There are none, or they have another number of classes.
    """
    if not predictions:
        raise ValueError('the predictions are of no image')
    labels = torch.stack([torch.as_tensor(p['pred_label']).flatten()[0] for p in predictions])
    truth = torch.stack([torch.as_tensor(p['gt_label']).flatten()[0] for p in predictions])
    if max(labels.max(), truth.max()) >= num_classes:
        raise ValueError(f'the predictions have other classes than the {num_classes} of the config')
    return ConfusionMatrix.calculate(labels, truth, num_classes).numpy().astype(np.int64)


def _read(path: Path) -> list[dict]:
    try:
        predictions = pickle.loads(path.read_bytes())
        if all('pred_label' in p and 'gt_label' in p for p in predictions):
            return predictions
    except (pickle.UnpicklingError, AttributeError, EOFError, ImportError, TypeError):
        pass
    raise ValueError(f'{path} holds no predictions of a classifier, as tools/test.py --out writes')


def normalise(matrix: np.ndarray) -> np.ndarray:
    """Shares of each row ``(K, K)``; NaN in rows of classes that do not occur."""
    counts = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, counts, out=np.full(matrix.shape, np.nan), where=counts > 0)


def most_confused(matrix: np.ndarray, classes: Sequence[str], top: int) -> list[Confusion]:
    """The pairs of which the largest share of the true class is taken for the other, in order."""
    shares = np.nan_to_num(normalise(matrix))
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind='stable')[:top]
    pairs = zip(*np.unravel_index(order, shares.shape), strict=True)
    return [
        Confusion(classes[t], classes[p], float(shares[t, p]), int(matrix[t, p]))
        for t, p in pairs
        if shares[t, p] > 0
    ]


def check_cmap(name: str) -> None:
    """Fail if there is no such colour map.

    Raises:
        ValueError: There is none.
    """
    if name not in matplotlib.colormaps:
        raise ValueError(f'--cmap {name!r} is no colour map of matplotlib, as viridis is')


def plot_confusion(
    matrix: np.ndarray,
    classes: Sequence[str],
    out_png: str | Path,
    *,
    title: str = 'Confusion matrix',
    cmap: str = 'viridis',
    include_values: bool = False,
) -> Path:
    """Draw shares of each row into a PNG that grows with the classes; names stay legible.

    Args:
        matrix: ``(K, K)``, true class by row. Rows of classes that do not occur are grey.
        classes: Their names.
        out_png: File to write; its folder is made.
        title: Above it.
        cmap: A colour map of matplotlib.
        include_values: Write percentages into the cells; always up to 20 classes.

    Raises:
        ValueError: The colour map is not known.
    """
    check_cmap(cmap)
    side = max(6.0, 2.2 + INCHES_A_CLASS * len(classes) * (2 if len(classes) <= 20 else 1))
    figure = new_figure(side + 1, side)
    axes, shares = figure.subplots(), normalise(matrix)
    axes.set_facecolor('0.85')
    image = axes.imshow(100 * shares, cmap=cmap, vmin=0, vmax=100, interpolation='nearest')
    size = 9 if len(classes) <= VALUES_UP_TO else 7
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=size)
    axes.set_yticks(range(len(classes)), classes, fontsize=size)
    heading = max(11.0, 0.9 * side)  # large pictures are looked at from afar, too
    axes.set_xlabel('predicted class', fontsize=heading)
    axes.set_ylabel('true class', fontsize=heading)
    axes.set_title(title, loc='left', fontweight='bold', fontsize=1.1 * heading)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.01)
    bar.set_label('share of the true class (%)', fontsize=heading)
    bar.ax.tick_params(labelsize=0.8 * heading)
    if include_values or len(classes) <= VALUES_UP_TO:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                red, green, blue, _ = image.cmap(image.norm(100 * share))
                ink = 'black' if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else 'white'
                axes.text(
                    column, row, f'{100 * share:.0f}', ha='center', va='center', color=ink,
                    fontsize=size - 1 if len(classes) <= VALUES_UP_TO else 4,
                )  # fmt: skip
    return save_figure(figure, out_png, dpi=150 if len(classes) <= 60 else 110)
