"""A small synthetic data set for semantic segmentation, in ADE20K's folder layout.

Every picture shows some of seven shapes on a cloudy ground. Outline and texture define the class;
size, position, rotation and colours are random. Each class leans towards a hue, so that a small
model learns within minutes, but hue alone identifies only about two shapes in three. A thin line
around each shape is unlabelled. Each picture depends only on the seed and its index, so a longer
set begins with the pictures of a shorter one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset
from numpy.random import Generator

PALETTE = {
    'ground': [128, 128, 128],
    'disc': [230, 25, 75],
    'square': [60, 180, 75],
    'triangle': [255, 225, 25],
    'star': [67, 99, 216],
    'ring': [245, 130, 49],
    'cross': [145, 30, 180],
    'bar': [66, 212, 244],
}
CLASSES = tuple(PALETTE)
# Standard deviation of a class's hue in degrees; classes are 360 / 7 = 51 degrees apart.
HUE_SPREAD = 25
SPLITS = ('training', 'validation')
# Raise this whenever the same parameters would give different pictures.
DRAWING = 1


@DATASETS.register_module()
class DrawnDataset(BaseSegDataset):
    """The data set drawn by ``draw_dataset``, read like ADE20K.

    In the files, 0 is unlabelled and 1 to 8 are the classes; ``reduce_zero_label`` turns these into
    255 and 0 to 7. Takes the arguments of mmseg's ``BaseSegDataset``, such as
    ``data_root=ROOT, data_prefix=dict(img_path='images/training',
    seg_map_path='annotations/training')``.
    """

    METAINFO = dict(classes=CLASSES, palette=list(PALETTE.values()))

    def __init__(
        self,
        img_suffix: str = '.jpg',
        seg_map_suffix: str = '.png',
        reduce_zero_label: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            reduce_zero_label=reduce_zero_label,
            **kwargs,
        )


def draw_dataset(
    root: str | Path,
    num_train: int = 240,
    num_val: int = 40,
    size_range: tuple[int, int] = (96, 192),
    seed: int = 0,
) -> bool:
    """Draw the data set into ``root``, unless it already exists.

    Pictures are drawn in a temporary folder that is renamed to ``root`` at the end: an interrupted
    call leaves nothing behind. A split of seven or more pictures shows every class.

    Args:
        root: Folder to create, with ``{images,annotations}/{training,validation}`` and a
            ``meta.json`` of the parameters.
        num_train: Number of training pictures.
        num_val: Number of validation pictures.
        size_range: Smallest and largest side in pixels, inclusive; height and width are
            independent.
        seed: Random seed.

    Returns:
        True if the pictures were drawn now, False if the same set already existed.

    Raises:
        FileExistsError: ``root`` holds another set or other files. Nothing is ever removed.
        OSError: A file could not be written.
        ValueError: ``size_range`` is not a range or starts below 64 pixels.
    """
    smallest, largest = size_range
    if not 64 <= smallest <= largest:
        raise ValueError(f'size_range must be (smallest, largest) from 64 up, not {size_range}')
    root, counts = Path(root).resolve(), (num_train, num_val)
    meta = dict(drawing=DRAWING, counts=list(counts), size_range=list(size_range), seed=seed)
    if _is_there(root, meta):
        print_log(f'{root}: this data set already exists, nothing to draw')
        return False
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f'.{root.name}.') as folder:
        fresh = Path(folder, root.name)
        for split, count in zip(SPLITS, counts, strict=True):
            _draw_split(fresh, split, count, size_range, seed)
        (fresh / 'meta.json').write_text(json.dumps(meta, indent=2) + '\n')
        fresh.rename(root)
    print_log(f'{root}: drew {num_train} pictures for training, {num_val} for validation')
    return True


def _is_there(root: Path, meta: dict) -> bool:
    """Whether ``root`` holds exactly this set; FileExistsError if it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = 'name another folder, or remove this one yourself if nothing in it is needed'
    if not (root / 'meta.json').is_file():
        raise FileExistsError(f'{root} holds files other than a drawn data set: {advice}')
    found = json.loads((root / 'meta.json').read_text())
    if found != meta:
        raise FileExistsError(f'{root} holds a data set drawn with {found}, not {meta}: {advice}')
    for split, count in zip(SPLITS, meta['counts'], strict=True):
        for folder, suffix in (('images', 'jpg'), ('annotations', 'png')):
            if len(list((root / folder / split).glob(f'*.{suffix}'))) != count:
                raise FileExistsError(f'{root}/{folder}/{split} has lost or gained files: {advice}')
    return True


def _draw_split(root: Path, split: str, count: int, size_range: tuple[int, int], seed: int) -> None:
    """Write ``count`` pictures and their annotations below ``root``."""
    images, annotations = (root / folder / split for folder in ('images', 'annotations'))
    for folder in (images, annotations):
        folder.mkdir(parents=True)
    for i in range(count):
        rng = np.random.default_rng([seed, SPLITS.index(split), i])
        image, label = draw_sample(rng, size_range, first=1 + i % (len(CLASSES) - 1))
        _write(images / f'{i + 1:05}.jpg', image)
        _write(annotations / f'{i + 1:05}.png', label)


def _write(path: Path, picture: np.ndarray) -> None:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f'could not write {path}')


def draw_sample(
    rng: Generator, size_range: tuple[int, int], first: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one picture that shows at least one shape of class ``first`` (1 to 7).

    Returns:
        The picture ``(H, W, 3)``, BGR, and its annotation ``(H, W)``: 0 for unlabelled, else the
        class plus one. Both uint8.
    """
    height, width = rng.integers(*size_range, size=2, endpoint=True)
    image = _mix(_clouds(height, width, rng), _two_colours(rng, rng.uniform(0, 360), 0, (10, 80)))
    label = np.full((height, width), 1, np.uint8)
    others = [c for c in range(1, len(CLASSES)) if c != first]
    deck = [first, *rng.permutation(others)][: max(2, height * width // 4500)]
    taken: list[tuple[float, float, float]] = []
    for index in deck:
        place = _free_place(rng, height, width, taken)
        if place is not None:
            taken.append(place)
            _draw_shape(image, label, index, place, rng)
    light = 1 + 0.12 * np.add.outer(*(np.linspace(*rng.uniform(-1, 1, 2), n) for n in label.shape))
    image = image * light[..., None] + rng.normal(0, 5, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), label


def _free_place(
    rng: Generator, height: int, width: int, taken: list[tuple[float, float, float]]
) -> tuple[float, float, float] | None:
    """Centre x, y and radius in pixels of a circle that barely overlaps those taken, or None."""
    for _ in range(40):
        radius = rng.uniform(25, min(50, 0.42 * min(height, width)))
        x, y = (rng.uniform(0.8 * radius, side - 0.8 * radius) for side in (width, height))
        if all(np.hypot(x - x2, y - y2) > 0.9 * (radius + r2) for x2, y2, r2 in taken):
            return x, y, radius
    return None


def _draw_shape(
    image: np.ndarray,
    label: np.ndarray,
    index: int,
    place: tuple[float, float, float],
    rng: Generator,
) -> None:
    """Paint a shape of class ``index`` and its outline onto the picture (float) and the labels."""
    x, y, radius = place
    shape, angle = SHAPES[CLASSES[index]], rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    contours = [radius * points @ turn.T + (x, y) for points in shape.contours]
    fixed_point = [np.round(points * 16).astype(np.int32) for points in contours]
    inside, line = np.zeros_like(label), np.zeros_like(label)
    cv2.fillPoly(inside, fixed_point, 255, cv2.LINE_AA, shift=4)
    cv2.polylines(line, fixed_point, True, 255, 2, cv2.LINE_AA, shift=4)

    colours = _two_colours(rng, 360 * index / len(SHAPES), HUE_SPREAD, (120, 240))
    rows, columns = np.indices(label.shape)
    u, v = np.tensordot(turn.T, np.stack((columns - x, rows - y)), axes=1)
    radians = 2 * np.pi / rng.uniform(9, 13)
    texture = np.clip(0.5 + 1.5 * shape.texture(u * radians, v * radians, rng), 0, 1)
    _blend(image, _mix(texture, colours), inside)
    _blend(image, 0.3 * colours[0], line)
    label[inside > 127] = index + 1
    label[line > 127] = 0


def _blend(image: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> None:
    """Lay ``colour`` over the picture in place with opacity ``cover`` (uint8, 255: opaque)."""
    image += (colour - image) * (cover[..., None] / 255)


def _mix(texture: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Interpolate two colours ``(2, 3)`` by a texture ``(H, W)`` in [0, 1]: ``(H, W, 3)``."""
    return colours[0] + texture[..., None] * (colours[1] - colours[0])


def _two_colours(
    rng: Generator, hue: float, hue_spread: float, saturation: tuple[int, int]
) -> np.ndarray:
    """A dark and a light colour ``(2, 3)`` in random order, BGR from 0 to 255.

    ``hue`` and its spread (standard deviation) are in degrees, ``saturation`` in 0 to 255.
    """
    values = [rng.integers(50, 115), rng.integers(175, 250)]
    hues = rng.normal(hue, hue_spread) + np.array([0, rng.uniform(-40, 40)])
    hsv = [
        [hue % 360 // 2, rng.integers(*saturation), value]
        for hue, value in zip(hues, values, strict=True)
    ]
    colours = cv2.cvtColor(np.array([hsv], np.uint8), cv2.COLOR_HSV2BGR)[0]
    return rng.permutation(colours).astype(np.float64)


def _clouds(height: int, width: int, rng: Generator) -> np.ndarray:
    """Ground texture: smooth noise ``(H, W)`` from 0 to 1, in lumps of about 20 pixels."""
    coarse = rng.random((height // 20 + 2, width // 20 + 2))
    fine = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
    return fine.clip(0, 1)


# A texture takes the coordinates u, v of every pixel, in radians of its period from the centre
# along the axes of the rotated shape; the second colour shows where the result is positive.
Texture = Callable[[np.ndarray, np.ndarray, Generator], np.ndarray]


class Shape(NamedTuple):
    """Closed contours, each ``(N, 2)`` as x, y in units of the radius, and their texture."""

    contours: list[np.ndarray]
    texture: Texture


def _around(*radii: float, phase: float = 0.0) -> np.ndarray:
    """Points ``(N, 2)`` at even angles around the centre, at the given radii."""
    angles = phase + 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.stack((np.cos(angles), np.sin(angles)), axis=1) * np.array(radii)[:, None]


def _box(half_width: float, half_height: float) -> list[list[float]]:
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [[sx * half_width, sy * half_height] for sx, sy in signs]


def _cross(arm: float) -> np.ndarray:
    """A plus whose arms are ``2 * arm`` wide."""
    corner = np.array([[1, -arm], [1, arm], [arm, arm]])
    quarter = np.array([[0, -1], [1, 0]])
    return np.concatenate([corner @ np.linalg.matrix_power(quarter.T, k) for k in range(4)])


SHAPES = {
    'disc': Shape([_around(*[1] * 64)], lambda u, v, rng: np.cos(u) + np.cos(v) - 0.4),
    'square': Shape(
        [_around(1, 1, 1, 1, phase=np.pi / 4)], lambda u, v, rng: 2 * np.sin(u / 2) * np.sin(v / 2)
    ),
    'triangle': Shape([_around(1.05, 1.05, 1.05)], lambda u, v, rng: np.sin(v)),
    'star': Shape([_around(*[1.1, 0.5] * 5)], lambda u, v, rng: rng.normal(0, 0.6, u.shape)),
    'ring': Shape(
        [_around(*[1] * 64), _around(*[0.45] * 64)], lambda u, v, rng: np.cos(np.hypot(u, v))
    ),
    'cross': Shape([_cross(0.36)], lambda u, v, rng: np.maximum(np.cos(u), np.cos(v)) - 0.75),
    'bar': Shape([np.array(_box(1.1, 0.4))], lambda u, v, rng: np.cos(u + np.abs(v))),
}
