"""The sum of a run: its score beside the guess's, the newest files, and clear errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from vil_mm.measure.priors import prior_scores
from vil_mm.measure.summary import read_last_miou as miou_of  # pytest would take it for a test
from vil_mm.measure.summary import summarize_run


def write_test(work_dir: Path, start: str, miou: float, age: float = 0) -> None:
    """Write what a test of a run leaves: its metrics, and scalars that are no metrics."""
    folder = work_dir / 'test' / start
    (folder / 'vis_data').mkdir(parents=True)
    (folder / 'vis_data' / f'{start}.json').write_text('{"mIoU": 99.0}')
    file = folder / f'{start}.json'
    file.write_text(json.dumps(dict(aAcc=80.0, mIoU=miou, mAcc=50.0)))
    made_older(file, age)


def made_older(file: Path, seconds: float) -> None:
    os.utime(file, (file.stat().st_mtime - seconds,) * 2)


def write_picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def cfg(tiny_config: Path) -> Config:
    return Config.fromfile(tiny_config)


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """A run that was trained twice and tested twice."""
    work_dir = tmp_path / 'work'
    write_test(work_dir, '20250101_000000', 61.25)
    write_test(work_dir, '20250102_000000', 33.3, age=1000)  # older, whatever its name says
    for name, age in (('best_mIoU_iter_150.pth', 0), ('best_mIoU_iter_75.pth', 1000)):
        (work_dir / name).touch()
        made_older(work_dir / name, age)
    (work_dir / 'iter_300.pth').touch()
    write_picture(work_dir / 'curves.png')
    for name in 'ab':
        write_picture(work_dir / 'pictures' / f'{name}.png')
    write_picture(work_dir / 'other' / 'unrelated.png')
    return work_dir


def test_report(cfg, work_dir):
    miou, guess, checkpoint, pictures = summarize_run(cfg, work_dir).splitlines()
    assert miou.split() == ['mIoU', '61.2']
    expected = prior_scores(cfg)['most frequent class'].mIoU
    assert 0 < expected < 20, 'the ground, of up to eight classes'
    assert guess.split()[:4] == ['most', 'frequent', 'class', f'{expected:.1f}']
    assert guess.endswith(f'; +{61.25 - expected:.1f})')
    assert checkpoint.split() == ['checkpoint', str(work_dir / 'best_mIoU_iter_150.pth')]
    folder = work_dir / 'pictures'
    assert pictures.split(maxsplit=1) == ['pictures', f'3 in {work_dir}, {folder}']


def test_a_run_worse_than_the_guess_says_so(cfg, work_dir):
    write_test(work_dir, '20250103_000000', 0.0, age=-1000)
    guess = prior_scores(cfg)['most frequent class'].mIoU
    assert f'; -{guess:.1f})' in summarize_run(cfg, str(work_dir))


def test_without_pictures(cfg, work_dir):
    for picture in work_dir.rglob('*.png'):
        picture.unlink()
    assert summarize_run(cfg, work_dir).splitlines()[-1].split(maxsplit=1)[1] == '0 in no folder'


def test_miou_of_last_test_is_that_of_the_last_test(work_dir):
    assert miou_of(work_dir / 'test') == 61.25


def test_a_run_that_was_not_tested_or_not_trained(cfg, work_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'was the run trained and tested\?'):
        summarize_run(cfg, tmp_path / 'nowhere')
    for file in work_dir.glob('best_*.pth'):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r'best_mIoU_iter_\*\.pth in .*work: was the run'):
        summarize_run(cfg, work_dir)
