"""Folders of photos and masks as users have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 48


def labels_of(index: int, num_classes: int = 2) -> np.ndarray:
    """Label map ``(32, 48)``: a square of each class, at a place of its own in every photo."""
    labels = np.zeros((32, SIDE), np.uint8)
    for label in range(1, num_classes):
        left = (5 * index + 12 * label) % 36
        labels[4 * label : 4 * label + 12, left : left + 10] = label
    return labels


@pytest.fixture
def write_set(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes photos and masks and returns their folders.

    ``encode`` makes a mask's Pillow image of its label map; names hold ``{}`` for the number.
    """

    def write(
        encode: Callable[[np.ndarray], Image.Image] = lambda labels: Image.fromarray(labels * 255),
        num: int = 6,
        num_classes: int = 2,
        photo: str = 'IMG_{}.jpg',
        mask: str = 'IMG_{}.png',
    ) -> tuple[Path, Path]:
        photos, masks = tmp_path / 'photos', tmp_path / 'masks'
        for i in range(num):
            labels = labels_of(i, num_classes)
            image = np.stack([labels * 90 + 40] * 3, axis=-1)
            for folder, name, content in (
                (photos, photo, Image.fromarray(image)),
                (masks, mask, encode(labels)),
            ):
                file = folder / name.format(i)
                file.parent.mkdir(parents=True, exist_ok=True)
                content.save(file)
        return photos, masks

    return write
