"""The confusion matrix of a segmentor or classifier."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.image import AxesImage
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.evaluation import ConfusionMatrix

from vil_mm.datasets.checks import mask_loader
from vil_mm.datasets.checks.files import is_cut_off
from vil_mm.datasets.label_maps import resize_nearest
from vil_mm.datasets.pixel_limit import check_pixels
from vil_mm.errors import ArgumentError
from vil_mm.files import check_archive
from vil_mm.pictures.figures import new_figure, save_figure
from vil_mm.progress import Progress, no_progress
from vil_mm.runs.build import build_dataset, build_runner
from vil_mm.runs.checks import check_data
from vil_mm.runs.data import check_samples
from vil_mm.runs.launch import prepare_testing
from vil_mm.runs.tasks import refuse_detection

INCHES_PER_CLASS = 0.19
VALUES_UP_TO = 20  # maximum number of classes whose percentages fit into the cells
LISTED = 40  # pairs listed beside a larger matrix


class Confusion(NamedTuple):
    """A pair of classes and the share of the first that is predicted as the second."""

    truth: str
    taken_for: str
    share: float
    count: int


def count_confusion(
    cfg: Config, source: str | Path, progress: Progress = no_progress
) -> tuple[np.ndarray, list[str]]:
    """Count a model's predictions on the test data of its config.

    Args:
        cfg: The result of ``read_config``, for a segmentor or classifier.
        source: A checkpoint, which is tested first; or the output of ``tools/test.py --out``: the
            folder of label maps, or a classifier's ``predictions.npz``.
        progress: Progress callback.

    Returns:
        Pixels or images ``(K, K)``, int64, with one row per true class; and the class names.

    Raises:
        FileNotFoundError: Data, the checkpoint or a label map is missing.
        ValueError: The config is for detection, or the predictions do not match it.
    """
    refuse_detection(cfg)
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f'no such checkpoint or predictions: {source}')
    if source.is_dir() or source.suffix == '.npz':
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
        file = Path(folder, 'predictions.npz')
        return count_confusion(cfg, file if file.is_file() else folder, progress)


def segmentor_confusion(
    folder: Path, dataset: BaseDataset, progress: Progress = no_progress
) -> np.ndarray:
    """Count pixels ``(K, K)`` of label maps, written by ``tools/test.py --out``, against the truth.

    Maps are named after their image; maps of another size than the annotation are resized.

    Raises:
        FileNotFoundError: An image has no map.
        ValueError: A map is damaged, or has a class that the data set does not have.
    """
    num_classes, total = len(dataset.metainfo['classes']), len(dataset)
    first = int(getattr(dataset, 'reduce_zero_label', False))
    load = mask_loader(dataset)
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for i in range(total):
        info = dataset.get_data_info(i)
        path = folder / f'{Path(info["img_path"]).stem}.png'
        if not path.is_file():
            raise FileNotFoundError(
                f'no label map {path}; to make them, run '
                f'python tools/test.py CONFIG CHECKPOINT --out {folder}'
            )
        predicted = _read_map(path)
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
            raise ValueError(f'{path} is not a map of the {num_classes} classes of this config')
        pairs = truth[known].astype(np.int64) * num_classes + predicted[known]
        matrix += np.bincount(pairs, minlength=num_classes**2).reshape(matrix.shape)
        progress('label maps', i + 1, total)
    return matrix


def _read_map(path: Path) -> np.ndarray:
    """A label map as stored.

    Raises:
        ValueError: The file is damaged, or has too many pixels.
    """
    check_pixels(path)
    labels = None if is_cut_off(path) else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.dtype.kind not in 'ui':
        raise ValueError(f'{path} is not a label map, or a damaged one')
    return labels


def classifier_confusion(predictions: Mapping[str, np.ndarray], num_classes: int) -> np.ndarray:
    """Count images ``(K, K)`` from arrays ``gt_label`` and ``pred_label``, as test.py writes them.

    Raises:
        ValueError: There are no predictions, or they have another number of classes.
    """
    labels, truth = predictions['pred_label'], predictions['gt_label']
    if not len(labels):
        raise ValueError('the predictions contain no image')
    both = np.stack([labels, truth])
    if both.min() < 0 or both.max() >= num_classes:
        raise ValueError(f'the predictions have other classes than the {num_classes} of the config')
    return ConfusionMatrix.calculate(*map(torch.from_numpy, (labels, truth)), num_classes).numpy()


def _read(path: Path) -> dict[str, np.ndarray]:
    """The labels ``(N,)``, int64, of an archive; pickled arrays are refused."""
    try:
        with path.open('rb') as file:
            check_archive(file)
            with np.load(file, allow_pickle=False) as archive:
                found = {key: archive[key] for key in ('pred_label', 'gt_label')}
        if _are_labels(*found.values()):
            return found
    except OSError as error:
        if error.errno is not None:  # of the system, such as a missing permission
            raise
    except Exception:  # on damaged files numpy raises errors of any type
        pass
    raise ValueError(
        f"{path} does not hold a classifier's predictions, as tools/test.py writes them"
    )


def _are_labels(predicted: np.ndarray, truth: np.ndarray) -> bool:
    """Whether both are one label for each image."""
    return predicted.dtype == truth.dtype == np.int64 and predicted.shape == truth.shape == (
        predicted.size,
    )


def normalise(matrix: np.ndarray) -> np.ndarray:
    """Divide each row by its sum ``(K, K)``; rows of classes that do not occur become NaN."""
    counts = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, counts, out=np.full(matrix.shape, np.nan), where=counts > 0)


def most_confused(matrix: np.ndarray, classes: Sequence[str], top: int) -> list[Confusion]:
    """The pairs with the largest share of the true class predicted as the other, in order."""
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
    """Raise ValueError if matplotlib has no such colour map."""
    if name not in matplotlib.colormaps:
        raise ArgumentError('not a colour map of matplotlib, such as viridis', cmap=name)


def plot_confusion(
    matrix: np.ndarray,
    classes: Sequence[str],
    out_png: str | Path,
    *,
    title: str,
    cmap: str = 'viridis',
    include_values: bool = False,
) -> Path:
    """Draw the row-normalised matrix into a PNG that grows with the number of classes.

    With more than 20 classes, cells have no room for numbers: the most confused pairs are listed
    beside the matrix, and the colour scale resolves small shares.

    Args:
        matrix: ``(K, K)``, one row per true class. Rows of classes that do not occur are grey.
        classes: Class names.
        out_png: File to write; its folder is created.
        title: Title, saying what was tested.
        cmap: A colour map of matplotlib.
        include_values: Write percentages into the cells; always done for up to 20 classes.

    Raises:
        ValueError: The colour map is not known.
    """
    check_cmap(cmap)
    few = len(classes) <= VALUES_UP_TO
    side = max(6.0, 2.2 + INCHES_PER_CLASS * len(classes) * (2 if few else 1))
    heading = max(11.0, 0.9 * side)  # large pictures are also viewed from further away
    figure = new_figure(side + 1 if few else 1.35 * side, side if few else 1.1 * side)
    left, right = figure.add_gridspec(1, 2, width_ratios=(1, 0.001 if few else 0.3)).subplots()
    image = _draw_shares(left, normalise(matrix), classes, cmap, heading)
    figure.suptitle(title, x=0.01, ha='left', fontweight='bold', fontsize=1.1 * heading)
    if few or include_values:
        _write_values(image, fontsize=8 if few else 4)
    bar = figure.colorbar(image, ax=left, fraction=0.03, pad=0.01, shrink=0.8)
    bar.set_label('share of the true class (%)', fontsize=heading)
    bar.ax.tick_params(labelsize=0.8 * heading)
    right.axis('off')
    if not few:
        _list_pairs(right, most_confused(matrix, classes, LISTED), heading)
    return save_figure(figure, out_png, dpi=150 if len(classes) <= 60 else 110)


def _draw_shares(
    axes: Axes, shares: np.ndarray, classes: Sequence[str], cmap: str, heading: float
) -> AxesImage:
    """The matrix with class names; above 20 classes on all sides, with a line every ten."""
    few = len(classes) <= VALUES_UP_TO
    norm = PowerNorm(1.0 if few else 0.5, 0, 100)
    axes.set_facecolor('0.85')
    image = axes.imshow(100 * shares, cmap=cmap, norm=norm, interpolation='nearest')
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=9 if few else 7)
    axes.set_yticks(range(len(classes)), classes, fontsize=9 if few else 7)
    axes.set_xlabel('predicted class', fontsize=heading)
    axes.set_ylabel('true class', fontsize=heading)
    if not few:
        axes.tick_params(labeltop=True, labelright=True)
        for edge in range(10, len(classes), 10):
            axes.axhline(edge - 0.5, color='white', linewidth=0.5, alpha=0.4)
            axes.axvline(edge - 0.5, color='white', linewidth=0.5, alpha=0.4)
    return image


def _write_values(image: AxesImage, fontsize: float) -> None:
    """Write whole percentages into cells of at least half a percent."""
    for (row, column), percent in np.ndenumerate(image.get_array().filled(np.nan)):
        if percent >= 0.5:
            red, green, blue, _ = image.cmap(image.norm(percent))
            ink = 'black' if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else 'white'
            image.axes.text(
                column, row, f'{percent:.0f}', ha='center', va='center', color=ink,
                fontsize=fontsize,
            )  # fmt: skip


def _list_pairs(axes: Axes, pairs: Sequence[Confusion], heading: float) -> None:
    """List the pairs as text, the largest share first."""
    axes.set_title('confused most', loc='left', fontweight='bold', fontsize=1.1 * heading)
    for i, pair in enumerate(pairs):
        text = f'{pair.share:>4.0%}  {_short(pair.truth)} → {_short(pair.taken_for)}'
        axes.text(0, 1 - (i + 0.5) / LISTED, text, fontsize=0.75 * heading, va='center')


def _short(name: str) -> str:
    return name if len(name) <= 18 else f'{name[:17]}…'
