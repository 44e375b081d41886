"""Pictures of segmentation results: input, ground truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.registry import VISUALIZERS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer
from PIL import Image, ImageDraw, ImageFont

PAPER, INK = (255, 255, 255), (40, 40, 40)
NO_CLASS = ('no class given', (40, 40, 40))  # ignored pixels, in every picture
MAX_SIDE = 4096  # pixels: pictures are not enlarged beyond this


@VISUALIZERS.register_module()
class SegPanelVisualizer(SegLocalVisualizer):
    """Draws a data sample as a row of titled panels over a legend of the classes that occur.

    Replaces mmseg's ``SegLocalVisualizer`` in any config, so that ``SegVisualizationHook``, the
    test tool's ``--show-dir`` and the inferencer draw panels.

    Args:
        name: Name of the instance.
        alpha: Opacity of class colours over the image, 0 to 1. Pixels without a class (255) are
            dark grey and have an entry in the legend.
        min_height: Images lower than this, in pixels, are enlarged by the smallest sufficient
            integer factor.
        **kwargs: Arguments of ``SegLocalVisualizer``.
    """

    def __init__(
        self, name: str = 'visualizer', alpha: float = 0.65, min_height: int = 256, **kwargs
    ) -> None:
        super().__init__(name, alpha=alpha, **kwargs)
        self.min_height = min_height

    def set_dataset_meta(self, classes=None, palette=None, dataset_name=None, **_: object) -> None:
        """Set class names and colours from the metadata of a data set or checkpoint.

        Args:
            classes, palette, dataset_name: As in ``SegLocalVisualizer``.
            **_: Other metadata (``label_map``, ``reduce_zero_label``, ...) is ignored.
        """
        if classes and not palette:
            palette = default_palette(len(classes))
        super().set_dataset_meta(classes=classes, palette=palette, dataset_name=dataset_name)

    @property
    def dataset_meta(self) -> dict | None:
        """Class names and colours; set in every process, unlike in mmengine."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        self._dataset_meta = meta

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: SegDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
        with_labels: bool | None = True,
        with_image: bool | None = True,
    ) -> None:
        """Draw the panels; show them, write them to a file or hand them to the backends.

        Args:
            name: Identifier of the picture.
            image: ``(H, W, 3)``, RGB, uint8.
            data_sample: Holds ``gt_sem_seg`` and ``pred_sem_seg``, both optional. A label map of
                another size is resized to the image by nearest neighbour.
            draw_gt: Whether to draw the ground truth.
            draw_pred: Whether to draw the prediction.
            show: Whether to open a window, for ``wait_time`` seconds (0: until a key is pressed).
            wait_time: See ``show``.
            out_file: File to write instead of passing the picture to the backends.
            step: Step under which the backends store the picture.
            with_labels: Whether to draw the legend.
            with_image: Whether to draw the panel of the input.
        """
        picture = self.compose(
            image,
            data_sample,
            draw_gt=draw_gt,
            draw_pred=draw_pred,
            with_labels=bool(with_labels),
            with_image=bool(with_image),
        )
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(picture), out_file)
        else:
            self.add_image(name, picture, step)

    def compose(
        self,
        image: np.ndarray,
        data_sample: SegDataSample | None,
        *,
        draw_gt: bool = True,
        draw_pred: bool = True,
        with_labels: bool = True,
        with_image: bool = True,
        legend_lines: int | None = None,
        alpha: float | None = None,
    ) -> np.ndarray:
        """The picture ``(H', W', 3)``, RGB, that :meth:`add_datasample` draws.

        Args:
            image, data_sample, draw_gt, draw_pred, with_labels, with_image: See there.
            legend_lines: Fixed number of legend lines, so that frames of a video have equal size;
                classes that do not fit are left out, the smallest first. None for as many lines as
                needed.
            alpha: Weight of the colours over the image; by default the visualizer's own.
        """
        wanted = {
            'ground truth': ('gt_sem_seg', draw_gt),
            'prediction': ('pred_sem_seg', draw_pred),
        }
        maps = {
            title: _labels(data_sample.get(key), image.shape[:2])
            for title, (key, draw) in wanted.items()
            if draw and data_sample is not None and key in data_sample
        }
        factor = enlargement(image.shape[:2], self.min_height)
        large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        panels = {'input': large} if with_image or not maps else {}
        alpha = self.alpha if alpha is None else alpha
        for title, labels in maps.items():
            panels[title] = self._blend(large, labels.repeat(factor, 0).repeat(factor, 1), alpha)
        size = int(np.clip(large.shape[0] // 16, 15, 36))
        picture = _side_by_side(panels, size)
        if with_labels and maps:
            entries = self._occurring(maps, by_size=legend_lines is not None)
            names = self.dataset_meta['classes'] if legend_lines else [name for name, _ in entries]
            picture = _widened(picture, names, size)
            legend = _legend(entries, picture.shape[1], size, legend_lines)
            picture = np.concatenate((picture, legend))
        return picture

    def _blend(self, image: np.ndarray, labels: np.ndarray, alpha: float) -> np.ndarray:
        """Overlay the image ``(H, W, 3)`` with the colours of its labels ``(H, W)``."""
        palette = self.dataset_meta['palette']
        index = np.minimum(labels, len(palette))
        colours = np.array([*palette, NO_CLASS[1]], np.float32)[index]
        mixed = ((1 - alpha) * image + alpha * colours).round().astype(np.uint8)
        mixed[index == len(palette)] = NO_CLASS[1]  # opaque, to differ from dark classes
        return mixed

    def _occurring(
        self, maps: dict[str, np.ndarray], by_size: bool
    ) -> list[tuple[str, tuple[int, ...]]]:
        """Name and colour of every class in the maps, by index or by size; "no class" last."""
        classes, palette = self.dataset_meta['classes'], self.dataset_meta['palette']
        pixels = np.concatenate([labels.ravel() for labels in maps.values()])
        found, counts = np.unique(pixels, return_counts=True)
        if by_size:
            found = found[np.argsort(-counts, kind='stable')]
        entries = [(classes[i], tuple(palette[i])) for i in found if i < len(classes)]
        return entries + [NO_CLASS] * bool((found >= len(classes)).any())


def default_palette(count: int) -> list[list[int]]:
    """Colours for a data set without a palette, the same as mmseg's."""
    return np.random.RandomState(42).randint(0, 255, (count, 3)).tolist()


def enlargement(size: tuple[int, int], min_height: int) -> int:
    """The smallest integer factor that makes a picture ``(H, W)`` ``min_height`` pixels high.

    It is limited so that no side exceeds 4096 pixels.
    """
    return max(1, min(-(-min_height // size[0]), MAX_SIDE // max(size)))


def _labels(data: PixelData, size: tuple[int, int]) -> np.ndarray:
    """Label map ``(1, H, W)`` on any device as ``(H, W)`` of a given size, int32, on the CPU."""
    labels = np.asarray(data.cpu().data).squeeze(0).astype(np.int32)
    if labels.shape == size:
        return labels
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)


def _side_by_side(panels: dict[str, np.ndarray], size: int) -> np.ndarray:
    """Panels of equal size under their titles; ``size`` is the text size in pixels."""
    height, width = next(iter(panels.values())).shape[:2]
    gap, head, own = size // 2, 2 * size, width
    width = max(own, *(int(font(size).getlength(title)) for title in panels))  # long titles
    page = Image.new('RGB', (len(panels) * (width + gap) + gap, head + height + gap), PAPER)
    draw = ImageDraw.Draw(page)
    for i, (title, panel) in enumerate(panels.items()):
        left = gap + i * (width + gap)
        page.paste(Image.fromarray(panel), (left + (width - own) // 2, head))
        draw.text((left + width // 2, head // 2), title, INK, font(size), anchor='mm')
    return np.array(page)


def _widened(picture: np.ndarray, names: Sequence[str], size: int) -> np.ndarray:
    """Pad a picture ``(H, W, 3)`` on the right if the longest legend entry needs it."""
    longest = max(int(font(size).getlength(name)) for name in names)
    missing = max(0, 3 * (size // 2) + size + longest - picture.shape[1])
    if not missing:
        return picture
    return np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=PAPER[0])


def _legend(
    entries: list[tuple[str, tuple[int, ...]]], width: int, size: int, lines: int | None
) -> np.ndarray:
    """A strip ``(h, width, 3)`` of colour patches with names.

    With ``lines`` it has exactly that many lines, and entries that do not fit are left out.
    """
    gap, line, face = size // 2, size + size // 2, font(size)
    places, x, y = [], gap, 0
    for name, _ in entries:
        needed = size + gap + int(face.getlength(name))
        if x > gap and x + needed > width - gap:
            x, y = gap, y + line
        places.append((x, y))
        x += needed + 2 * gap
    last = y if lines is None else (lines - 1) * line
    page = Image.new('RGB', (width, last + line + gap), PAPER)
    draw = ImageDraw.Draw(page)
    for (name, colour), (x, y) in zip(entries, places, strict=True):
        if y <= last:
            draw.rectangle((x, y, x + size - 1, y + size - 1), colour, INK)
            draw.text((x + size + gap, y + size // 2), name, INK, face, anchor='lm')
    return np.array(page)


@lru_cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The sans-serif font of matplotlib, which MMEngine requires anyway."""
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts/ttf', name)), size)
