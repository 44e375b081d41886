"""Show where a segmentor is wrong: predictions beside ground truth, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmseg.evaluation import IoUMetric
from torch import nn

from vil_mm.datasets.label_maps import IGNORE_INDEX
from vil_mm.datasets.reading import find_reader
from vil_mm.engine.visualizer import NO_CLASS
from vil_mm.errors import ArgumentError
from vil_mm.models.inspection import find_kind
from vil_mm.pictures.figures import new_figure
from vil_mm.runs.build import build_dataset

RIGHT, WRONG, IGNORED = 0, 1, 2
COLOURS = {'right': (205, 225, 205), 'wrong': (200, 30, 30), NO_CLASS[0]: NO_CLASS[1]}


class Result(NamedTuple):
    """A segmentor's prediction for one image of a data set.

    Attributes:
        name: Name of the image file.
        image: ``(H, W, 3)``, uint8, RGB, see ``ImageReader``.
        truth: ``(H, W)``, uint8, 255 for unlabelled pixels.
        prediction: ``(H, W)``, uint8.
        num_classes: Number of classes.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    num_classes: int

    def errors(self) -> np.ndarray:
        """``(H, W)``, uint8: ``RIGHT``, ``WRONG``, or ``IGNORED`` for unlabelled pixels."""
        errors = np.where(self.prediction == self.truth, RIGHT, WRONG)
        return np.where(self.truth == IGNORE_INDEX, IGNORED, errors).astype(np.uint8)

    def scores(self) -> tuple[float, float]:
        """mIoU over the classes that occur, and accuracy, in percent, as computed by IoUMetric."""
        pair = (torch.from_numpy(x) for x in (self.prediction, self.truth))
        areas = IoUMetric.intersect_and_union(*pair, self.num_classes, IGNORE_INDEX)
        metrics = IoUMetric.total_area_to_metrics(*areas)
        return tuple(100 * float(np.nanmean(metrics[name])) for name in ('IoU', 'aAcc'))


def check_segmentor(model: nn.Module) -> None:
    """Raise ValueError if the model is not a segmentor."""
    if not hasattr(model, 'decode_head'):
        raise ValueError(
            f'errors can be drawn for segmentation only; the config is of a {find_kind(model)}, '
            'which tools/test.py scores'
        )


def test_data(cfg: Config) -> BaseDataset:
    """The test data set of a config, with its own pipeline.

    Raises:
        ValueError: The config has no test data, or the data set has no images.
    """
    if not (cfg.get('test_dataloader') or {}).get('dataset'):
        raise ValueError(f'{cfg.filename}: no test_dataloader.dataset to compare with')
    return build_dataset(cfg, 'test')


def check_indices(dataset: BaseDataset, indices: Sequence[int]) -> None:
    """Raise ValueError if the data set has no image at an index."""
    for index in indices:
        if not 0 <= index < len(dataset):
            raise ArgumentError(
                f'the test data has {len(dataset)} images, 0 to {len(dataset) - 1}', index=index
            )


@torch.no_grad()
def predict(model: nn.Module, dataset: BaseDataset, index: int) -> Result:
    """Predict one image of a data set as the test loop does.

    Args:
        model: A segmentor with weights, in evaluation mode.
        dataset: The result of :func:`test_data`.
        index: Index of the image, from 0.

    Raises:
        ValueError: The file is not an image, or label map and prediction differ in size.
    """
    path = Path(dataset.get_data_info(index)['img_path'])
    reader = find_reader(dataset)
    image = reader.picture(reader.read(str(path))['img'])
    (sample,) = model.test_step(pseudo_collate([dataset[index]]))
    truth, prediction = (
        sample.get(key).data.squeeze(0).cpu().numpy().astype(np.uint8)
        for key in ('gt_sem_seg', 'pred_sem_seg')
    )
    if not truth.shape == prediction.shape == image.shape[:2]:
        raise ValueError(
            f'{path}: prediction {prediction.shape}, label map {truth.shape} and image '
            f'{image.shape[:2]} differ in size; is the pipeline that of the test data?'
        )
    return Result(path.name, image, truth, prediction, len(dataset.metainfo['classes']))


def draw_errors(results: Sequence[Result], metainfo: dict, title: str) -> Figure:
    """Draw one row per image: input, ground truth, prediction and errors, over a legend.

    Args:
        results: Results of :func:`predict`.
        metainfo: ``classes`` and ``palette`` of the data set.
        title: Figure title.
    """
    ratios = [x.truth.shape[0] / x.truth.shape[1] for x in results]
    occurring = np.unique(
        [x for r in results for x in (*np.unique(r.truth), *np.unique(r.prediction))]
    )
    classes = [i for i in occurring if i < results[0].num_classes]
    lines = -(-(len(classes) + len(COLOURS)) // 7)
    heights = [3.2 * ratio + 0.35 for ratio in ratios]
    figure = new_figure(13, sum(heights) + 0.9 + 0.3 * lines)
    axes = figure.subplots(len(results), 4, squeeze=False, height_ratios=heights)
    for row, result in zip(axes, results, strict=True):
        miou, accuracy = result.scores()
        panels = {
            result.name: result.image,
            'ground truth': _coloured(result.truth, metainfo['palette']),
            'prediction': _coloured(result.prediction, metainfo['palette']),
            f'mIoU {miou:.1f} %, {accuracy:.1f} % of pixels right': _error_picture(result),
        }
        for ax, (name, panel) in zip(row, panels.items(), strict=True):
            ax.imshow(panel, interpolation='nearest')
            ax.set_title(name, fontsize=10)
            ax.set_axis_off()
    _legend(figure, [(metainfo['classes'][i], metainfo['palette'][i]) for i in classes])
    figure.suptitle(f'Where the segmentation is wrong\n{title}', fontsize=13)
    return figure


def _coloured(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Class colours ``(H, W, 3)``, uint8."""
    colours = np.array([*palette, NO_CLASS[1]], np.uint8)
    return colours[np.minimum(labels, len(palette))]


def _error_picture(result: Result) -> np.ndarray:
    """The image in grey, overlaid with the colours of right and wrong, ``(H, W, 3)``, uint8."""
    grey = result.image.mean(-1, keepdims=True)
    colours = np.array(list(COLOURS.values()), float)[result.errors()]
    return (0.35 * grey + 0.65 * colours).astype(np.uint8)


def _legend(figure: Figure, classes: Sequence[tuple[str, Sequence[int]]]) -> None:
    entries = [*classes, *COLOURS.items()]
    patches = [
        Patch(facecolor=np.array(colour) / 255, edgecolor='dimgrey', linewidth=0.5, label=name)
        for name, colour in entries
    ]
    figure.legend(
        handles=patches,
        loc='outside lower center',
        ncols=min(7, len(patches)),
        frameon=False,
        fontsize=9,
    )
