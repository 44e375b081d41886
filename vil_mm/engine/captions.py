"""Pictures of classified images: the class is written on the image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmpretrain.structures import DataSample
from PIL import Image, ImageDraw

from vil_mm.engine.visualizer import enlargement, font

MIN_HEIGHT = 224  # pixels: smaller pictures are enlarged, so that captions are legible
TEXT_SIZES = (10, 28)  # pixels: smallest and largest text
BACK, FRONT = (0, 0, 0, 150), (255, 255, 255)


def draw_classes(
    image: np.ndarray,
    sample: DataSample,
    classes: Sequence[str] | None = None,
    *,
    draw_gt: bool = True,
    draw_pred: bool = True,
    min_height: int = MIN_HEIGHT,
) -> np.ndarray:
    """Write the class into the upper left corner of an image.

    A line reads 'tench 0.93 (class 0)': name, score, number. Text that is too wide is set smaller,
    then cut off.

    Args:
        image: ``(H, W, 3)``, uint8, RGB.
        sample: Holds ``gt_label`` and ``pred_label``, both optional.
        classes: Class names; None to write only numbers.
        draw_gt: Whether to write the ground truth.
        draw_pred: Whether to write the prediction.
        min_height: Height in pixels below which images are enlarged.

    Returns:
        The picture, uint8, RGB, enlarged by the smallest sufficient integer factor.
    """
    factor = enlargement(image.shape[:2], min_height)
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    lines = []
    if draw_gt and 'gt_label' in sample:
        lines += _lines('truth', sample.gt_label.tolist(), classes, None)
    if draw_pred and 'pred_label' in sample:
        scores = sample.get('pred_score')
        lines += _lines('predicted' if lines else '', sample.pred_label.tolist(), classes, scores)
    return _captioned(image, lines) if lines else image


def _lines(kind: str, labels: list[int], classes: Sequence[str] | None, scores) -> list[str]:
    lines = []
    for label in labels:
        named = classes is not None and label < len(classes)
        words = [f'{kind}:'] if kind else []
        words += [str(classes[label]) if named else f'class {label}']
        words += [f'{float(scores[label]):.2f}'] if scores is not None else []
        words += [f'(class {label})'] if named else []
        lines.append(' '.join(words))
    return lines


def _captioned(image: np.ndarray, lines: list[str]) -> np.ndarray:
    height, width = image.shape[:2]
    size = int(np.clip(height // 14, *TEXT_SIZES))
    while size > TEXT_SIZES[0] and _width(lines, size) > width - size:
        size -= 1
    lines = [_cut(line, width - size, size) for line in lines]
    margin, step = size // 2, size * 4 // 3
    page = Image.fromarray(image).convert('RGBA')
    box = Image.new('RGBA', page.size)
    draw = ImageDraw.Draw(box)
    draw.rectangle((0, 0, _width(lines, size) + 2 * margin, len(lines) * step + margin), BACK)
    for i, line in enumerate(lines):
        middle = margin // 2 + i * step + step // 2
        draw.text((margin, middle), line, FRONT, font(size), anchor='lm')
    return np.array(Image.alpha_composite(page, box).convert('RGB'))


def _width(lines: list[str], size: int) -> int:
    return max(int(font(size).getlength(line)) for line in lines)


def _cut(line: str, width: int, size: int) -> str:
    """Cut a line to at most ``width`` pixels, marking the cut with '…'."""
    if _width([line], size) <= width:
        return line
    while line and _width([f'{line}…'], size) > width:
        line = line[:-1]
    return f'{line}…'
