"""The linear baseline: on data that a line divides, and from a config."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from vil_mm.measure.linear import _rotate, fit_linear, linear_scores


def test_fit_finds_the_dividing_line_and_the_penalty_shrinks_it():
    torch.manual_seed(0)
    x = torch.randn(200, 3)
    y = (x[:, 0] - 2 * x[:, 1] > 0.5).long()
    assert (fit_linear(x, y, 1e-5)(x).argmax(1) == y).float().mean() > 0.99
    strong = fit_linear(x, y, 10.0)
    logits = strong(x)
    assert (logits - strong(torch.zeros(1, 3))).abs().max() < 0.5


def test_rotation_changes_no_prediction():
    torch.manual_seed(0)
    x, x_val, y = torch.randn(20, 50), torch.randn(30, 50), torch.randint(3, (20,))
    rotated, rotated_val = _rotate(x, x_val)
    assert rotated.shape == (20, 20) and rotated_val.shape == (30, 20)
    plain = fit_linear(x, y, 0.1, 500)(x_val)
    torch.testing.assert_close(
        fit_linear(rotated, y, 0.1, 500)(rotated_val), plain, rtol=0, atol=1e-2
    )


def write_split(root: Path, split: str, colours: dict[str, list[int]]) -> dict:
    for name, greys in colours.items():
        (root / split / name).mkdir(parents=True)
        for i, grey in enumerate(greys):
            Image.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(
                root / split / name / f'{i}.png'
            )
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    return dict(
        dataset=dict(
            type='CustomDataset', data_root=str(root), data_prefix=split, pipeline=pipeline
        )
    )


def test_scores_of_a_config(tmp_path):
    """Dark against light: 5 against 3 in training, 1 against 3 in validation."""
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            train_dataloader=write_split(
                tmp_path, 'train', dict(dark=[0, 10, 20, 30, 40], light=[200, 220, 240])
            ),
            val_dataloader=write_split(tmp_path, 'val', dict(dark=[15], light=[190, 210, 255])),
        )
    )
    scores = linear_scores(cfg)
    assert scores == {
        'most frequent class': pytest.approx(25),
        'linear on raw pixels': pytest.approx(100),
    }
