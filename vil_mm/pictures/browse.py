"""Show what a model sees of a data set: images as loaded, as augmented, and every step between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from PIL import Image, ImageDraw

from vil_mm.datasets.reading import find_reader
from vil_mm.datasets.replay import SeededIndex, mix_seeds
from vil_mm.engine.captions import MIN_HEIGHT, draw_classes
from vil_mm.engine.visualizer import SegPanelVisualizer, font
from vil_mm.errors import ArgumentError
from vil_mm.progress import Progress, no_progress
from vil_mm.runs.build import build_dataset
from vil_mm.runs.checks import check_data
from vil_mm.runs.data import check_samples
from vil_mm.runs.tasks import classification, find_task, refuse_detection

MODES = ('original', 'transformed', 'concat', 'pipeline')
GAP = 12  # pixels between the pictures of one image
SCREEN = (1600, 1000)  # width and height in pixels that a page of several pictures should fit
HEIGHTS = (384, 320, 256, 192, 144, 96)  # image heights to try, from the largest
TITLE = 16  # text size of titles in pixels
# The pipeline's image, later a picture (H, W, 3), RGB; and labels (H, W) or the class.
Step = tuple[np.ndarray, np.ndarray | None]


def browse(
    cfg: Config,
    folder: str | Path,
    *,
    phase: str = 'train',
    mode: str = 'transformed',
    number: int | None = None,
    progress: Progress = no_progress,
) -> list[Path]:
    """Draw images of a config's data set into PNG files.

    Segmentation shows image and labels side by side over a legend; classification shows the image
    with its class. The data preprocessor's steps (padding, mixup, cutmix, normalisation) come later
    and are not shown.

    Args:
        cfg: The result of ``read_config``, for a segmentor or classifier.
        folder: Output folder.
        phase: 'train', 'val' or 'test': which data set and pipeline to use.
        mode: 'original' as loaded, 'transformed' after the pipeline, 'concat' both, 'pipeline'
            after every transform that changes the image.
        number: Number of images, from the first; None for all.
        progress: Progress callback.

    Returns:
        The files.

    Raises:
        FileNotFoundError: Data are missing.
        ValueError: The config is for detection or has no such phase, or there are no images.
    """
    refuse_detection(cfg)
    if not cfg.get(f'{phase}_dataloader'):
        raise ArgumentError(f'{cfg.filename} has no {phase}_dataloader', phase=phase)
    if number is not None and number < 1:
        raise ArgumentError('expected 1 or more', number=number)
    check_data(cfg, phase)
    check_samples(cfg, phase)
    dataset = build_dataset(cfg, phase)
    draw, reader = _drawer(cfg, dataset), find_reader(dataset)
    total = min(len(dataset), number or len(dataset))
    files = []
    for index in range(total):
        inner, own = _innermost(dataset, index)
        steps = _steps(inner, own, index)
        look = reader.look(next(iter(steps.values()))[0])  # from the image as loaded, for all steps
        chosen = _chosen(steps, mode).items()
        steps = {name: (look.picture(image), target) for name, (image, target) in chosen}
        page = _page(draw, steps) if len(steps) > 1 else _picture(draw, *steps.popitem())
        stem = Path(inner.get_data_info(own).get('img_path', '')).stem
        files.append(Path(folder, f'{index:05d}_{stem}.png'))
        mmcv.imwrite(mmcv.rgb2bgr(page), str(files[-1]))
        progress('images', index + 1, total)
    return files


def _innermost(dataset: BaseDataset, index: int) -> tuple[BaseDataset, int]:
    """The data set inside wrappers such as ConcatDataset, and the index within it."""
    for part in getattr(dataset, 'datasets', []):
        if index < len(part):
            return _innermost(part, index)
        index -= len(part)
    if hasattr(dataset, 'dataset'):
        return _innermost(dataset.dataset, index % len(dataset.dataset))
    return dataset, index


def _steps(dataset: BaseDataset, index: int, seed: int) -> dict[str, Step]:
    """Image and target after each transform that changes one of them, up to packing.

    Raises:
        ValueError: The pipeline rejects the image (returns None) at every attempt.
    """
    for attempt in range(20):
        data, steps = dataset.get_data_info(index), {}
        data['sample_idx'] = SeededIndex(index, mix_seeds(seed, attempt))
        for transform in dataset.pipeline.transforms:
            before = _step(data)
            data = dataset.pipeline.step(transform, data)
            if data is None or 'inputs' in data:
                break
            after = _step(data)
            if after is not None and not _same(before, after):
                steps[f'{len(steps) + 1} {type(transform).__name__}'] = after
        if data is not None and steps:
            return steps
    raise ValueError(f'the pipeline rejects image {index} or loads none')


def _step(data: dict) -> Step | None:
    if 'img' not in data:
        return None
    target = data.get('gt_seg_map', data.get('gt_label'))
    return data['img'].copy(), np.array(target) if target is not None else None


def _same(before: Step | None, after: Step) -> bool:
    return before is not None and all(
        (x is None) == (y is None) and np.array_equal(x, y)
        for x, y in zip(before, after, strict=True)
    )


def _chosen(steps: dict[str, Step], mode: str) -> dict[str, Step]:
    """The steps that a mode shows; labels may be loaded after the image was resized."""
    if mode == 'pipeline':
        return steps
    images, last = list(steps.values()), list(steps.values())[-1]
    targets = [target for name, (_, target) in steps.items() if 'Load' in name]
    first = images[0][0], targets[-1] if targets else images[0][1]
    shown = {'original': first, 'transformed': last}
    return shown if mode == 'concat' else {mode: shown[mode]}


def _drawer(cfg: Config, dataset: BaseDataset) -> Callable[..., np.ndarray]:
    """A function that draws a picture ``(H, W, 3)``, RGB, uint8, with its target.

    Its optional third argument is the height below which images are enlarged.
    """
    if find_task(cfg) is classification:
        classes = dataset.metainfo.get('classes')

        def draw(
            picture: np.ndarray, target: np.ndarray | None, height: int = MIN_HEIGHT
        ) -> np.ndarray:
            sample = DataSample()
            if target is not None:
                sample.set_gt_label(target)
            return draw_classes(picture, sample, classes, min_height=min(height, MIN_HEIGHT))

        return draw
    panels = SegPanelVisualizer('browse')
    panels.dataset_meta = dataset.metainfo

    def draw_panels(
        picture: np.ndarray, target: np.ndarray | None, height: int = panels.min_height
    ) -> np.ndarray:
        panels.min_height = height
        sample = SegDataSample()
        if target is not None:
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(target[None].astype(np.int64)))
        return panels.compose(picture, sample)

    return draw_panels


def _picture(draw: Callable[..., np.ndarray], name: str, step: Step) -> np.ndarray:
    """One step alone, at its own size."""
    picture = draw(*step)
    return _titled(picture, _title(name, step), max(15, picture.shape[1] // 40))


def _page(draw: Callable[..., np.ndarray], steps: dict[str, Step]) -> np.ndarray:
    """Several steps in reading order, at equal height; titles give the original sizes."""
    for height in HEIGHTS:
        pictures = [
            _titled(draw(*_resized(step, height), height), _title(name, step), TITLE)
            for name, step in steps.items()
        ]
        page = _grid(pictures)
        if page.shape[1] <= SCREEN[0] and page.shape[0] <= SCREEN[1]:
            break
    return page


def _title(name: str, step: Step) -> str:
    return f'{name}, {step[0].shape[1]} x {step[0].shape[0]}'


def _resized(step: Step, height: int) -> Step:
    """Resize a step's image to a height, and its labels, if any, by nearest neighbour."""
    image, target = step
    size = max(1, round(image.shape[1] * height / image.shape[0])), height
    kind = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    resized = cv2.resize(image, size, interpolation=kind)
    if target is not None and target.ndim == 2:
        target = cv2.resize(target.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return resized, target


def _titled(picture: np.ndarray, title: str, size: int) -> np.ndarray:
    """A picture ``(H, W, 3)`` under its title; ``size`` is the text size in pixels."""
    face = font(size, bold=True)
    width = max(picture.shape[1], int(face.getlength(title)) + 2 * GAP)
    page = Image.new('RGB', (width, picture.shape[0] + 2 * size), 'white')
    ImageDraw.Draw(page).text((GAP, size), title, (40, 40, 40), face, anchor='lm')
    page.paste(Image.fromarray(picture), (0, 2 * size))
    return np.array(page)


def _grid(pictures: list[np.ndarray]) -> np.ndarray:
    """Arrange pictures on white in the number of columns that fits the screen best."""
    return min(
        (_rows(pictures, columns) for columns in range(1, len(pictures) + 1)),
        key=lambda page: max(page.shape[1] / SCREEN[0], page.shape[0] / SCREEN[1]),
    )


def _rows(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    widths = [max(p.shape[1] for p in pictures[i::columns]) + GAP for i in range(columns)]
    heights = [max(p.shape[0] for p in row) + GAP for row in rows]
    page = np.full((sum(heights), sum(widths), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = sum(heights[:i]), sum(widths[:j])
            page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return page
