"""Small made-up trees of files in the layouts of known data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vil_mm.datasets.checks.known_sets import KNOWN_SETS
from vil_mm.datasets.checks.tree import check_tree
from vil_mm.datasets.checks.tree_report import TreeReport

WIDTH, HEIGHT = 40, 30


def write_image(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def write_label(path: Path, *values: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, np.uint8), size[::-1])).save(path)


def write_pairs(root: Path, name: str, stems: tuple[str, ...], *values: int) -> None:
    layout = KNOWN_SETS[name]
    for split in layout.splits:
        folder = f'/{split.folders[0]}' if split.folders else ''
        for stem in stems:
            write_image(Path(f'{root}/{split.images}{folder}/{stem}{layout.image_suffixes[0]}'))
            write_label(
                Path(f'{root}/{split.annotations}{folder}/{stem}{layout.label_suffix}'), *values
            )


def save_as(path: Path, mode: str) -> None:
    Image.open(path).convert(mode).save(path)


def look(name: str, root: Path, *, any_count: bool = True, **options) -> TreeReport:
    return check_tree(name, root, workers=1, any_count=any_count, **options)


def found(report: TreeReport) -> dict[str, list[str]]:
    return {kind: group.names for kind, group in report.groups.items()}
