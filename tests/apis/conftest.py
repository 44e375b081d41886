"""Images that tests of inference share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with two images and a text."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for seed, (name, size) in enumerate({'a.png': (40, 64, 3), 'b.jpg': (64, 50, 3)}.items()):
        pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
        cv2.imwrite(str(folder / name), pixels)
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture
def segmentor(trained) -> tuple[Path, Path]:
    """Config and checkpoint of a tiny segmentor that `tools/train.py` has trained."""
    return trained.config, trained.checkpoint


@pytest.fixture
def classifier(trained_classifier) -> tuple[Path, Path]:
    """The same of a tiny classifier."""
    return trained_classifier.config, trained_classifier.checkpoint
