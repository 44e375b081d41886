"""How to spoil a right set of images and masks, and the lists of what was spoilt.

A fault takes the folder and the config of a right set and changes them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

Fault = Callable[[Path, Config], None]
ERRORS: list[tuple[Fault, str]] = []  # with what the line about it says
WARNINGS: list[tuple[Fault, str]] = []
RIGHT: list[Fault] = []


def error(words: str) -> Callable[[Fault], Fault]:
    """The fault stops a run with a line in which ``words`` are found."""
    return lambda fault: ERRORS.append((fault, words)) or fault


def warning(words: str) -> Callable[[Fault], Fault]:
    return lambda fault: WARNINGS.append((fault, words)) or fault


def right(change: Fault) -> Fault:
    RIGHT.append(change)
    return change


def images(root: Path, split: str = '*') -> list[Path]:
    return sorted(root.glob(f'images/{split}/*'))


def masks(root: Path, split: str = '*') -> list[Path]:
    return sorted(root.glob(f'masks/{split}/*'))


def recode(paths: list[Path], change: Callable[[np.ndarray], np.ndarray], **options) -> None:
    for path in paths:
        Image.fromarray(change(np.array(Image.open(path)))).save(path, **options)


def rename(paths: list[Path], change: Callable[[str], str]) -> None:
    for path in paths:
        path.rename(path.with_name(change(path.name)))


def both(cfg: Config, **options) -> None:
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.update(options)


def listed_with(text: str) -> Fault:
    def fault(root: Path, cfg: Config) -> None:
        (root / 'train.txt').write_bytes(text.encode())
        cfg.train_dataloader.dataset.ann_file = 'train.txt'

    return fault


def damaged(split: str, kind: str, content: Callable[[bytes], bytes]) -> Fault:
    def fault(root: Path, cfg: Config) -> None:
        path = sorted((root / kind / split).iterdir())[1]
        path.write_bytes(content(path.read_bytes()))

    return fault


def in_a_wrapper(fault: Fault) -> Fault:
    def wrapped(root: Path, cfg: Config) -> None:
        fault(root, cfg)
        inner = cfg.train_dataloader.dataset
        concat = dict(type='ConcatDataset', datasets=[inner])
        cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=concat)

    return wrapped
