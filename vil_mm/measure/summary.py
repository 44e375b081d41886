"""Summarise a tested run: its score, a baseline and its files."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.config import Config

from vil_mm.measure.priors import prior_scores


def summarize_run(cfg: Config, work_dir: str | Path) -> str:
    """Summarise a run after ``tools/test.py``.

    Args:
        cfg: The run's config, for its data sets.
        work_dir: Folder of the training, with pictures in it or in its ``pictures``.

    Returns:
        A few lines of text.

    Raises:
        FileNotFoundError: The run was not trained, or not tested.
    """
    work_dir = Path(work_dir)
    miou = read_last_miou(work_dir / 'test')
    checkpoint = _newest(work_dir, 'best_mIoU_iter_*.pth')
    guess = prior_scores(cfg)['most frequent class'].mIoU
    pictures = sorted(work_dir.glob('pictures/*.png')) + sorted(work_dir.glob('*.png'))
    folders = sorted({str(picture.parent) for picture in pictures})
    lines = [
        f'mIoU                  {miou:.1f}',
        f'  most frequent class {guess:.1f}  (every pixel the same answer; {miou - guess:+.1f})',
        f'checkpoint            {checkpoint}',
        f'pictures              {len(pictures)} in {", ".join(folders) or "no folder"}',
    ]
    return '\n'.join(lines)


def read_last_miou(test_dir: Path) -> float:
    """mIoU in percent of the last test in ``test_dir``.

    Raises:
        FileNotFoundError: There is none.
    """
    metrics = json.loads(_newest(test_dir, '*/*.json').read_text())
    return float(metrics['mIoU'])


def _newest(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f'no {pattern} in {folder}: was the run trained and tested?')
    return found[-1]
