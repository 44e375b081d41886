"""Learning rate of a run: schedulers stepped, the formula, the picture of both."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

import vil_mm
from vil_mm.pictures.schedule import (
    WarmupCosine,
    plot_schedule,
    read_recipe,
    relative_difference,
    scheduled_rates,
)
from vil_mm.runs.reading import read_config


@pytest.fixture
def cfg() -> Config:
    """A run of 240 updates, 20 of them warm-up, learning rate 1e-3 to 1e-6."""
    return read_config(str(vil_mm.CONFIG_DIR / 'upernet_vil_t_drawn.py'))


def test_formula_update_by_update():
    recipe = WarmupCosine(peak=2.0, end=0.5, warmup=3, total=8)
    expected = [0.5, 1.0, 1.5, 2.0]
    expected += [0.5 + 1.5 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(1, 5)]
    assert recipe(np.arange(8)).tolist() == pytest.approx(expected)
    assert recipe(np.array([3, 7])).tolist() == [2.0, 0.5]


def test_formula_of_a_constant_rate():
    recipe = WarmupCosine(peak=0.1, end=0.1, warmup=1, total=5)
    assert recipe(np.arange(5)).tolist() == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.1])


def test_config_gives_the_formula(cfg):
    assert read_recipe(cfg) == WarmupCosine(1e-3, 1e-6, 20, 240)
    rates = scheduled_rates(cfg)
    assert rates.shape == (240,)
    assert rates[[0, 19, 20, 239]] == pytest.approx([1e-3 / 21, 20e-3 / 21, 1e-3, 1e-6])
    assert relative_difference(rates, read_recipe(cfg)).max() < 1e-12


def test_a_wrong_schedule_is_seen(cfg):
    cfg.param_scheduler[0].end -= 1  # the mistake that is easily made: warm-up ends a step early
    difference = relative_difference(scheduled_rates(cfg), read_recipe(cfg))
    assert difference.max() > 1e-3


def test_rates_do_not_touch_the_config(cfg):
    before = cfg.pretty_text
    scheduled_rates(cfg)
    assert cfg.pretty_text == before


def test_schedulers_by_epoch_are_refused(cfg):
    del cfg.param_scheduler[1]['by_epoch']
    with pytest.raises(ValueError, match='by_epoch=False'):
        scheduled_rates(cfg)


def test_config_that_trains_nothing(tmp_path):
    (tmp_path / 'nothing.py').write_text('model = dict()')
    cfg = Config.fromfile(tmp_path / 'nothing.py')
    for function in (read_recipe, scheduled_rates):
        with pytest.raises(ValueError, match=r'nothing\.py: no optim_wrapper.*that trains'):
            function(cfg)


def test_picture(cfg, tmp_path: Path):
    out = tmp_path / 'new' / 'schedule.png'
    assert plot_schedule(cfg, out) < 1e-12
    with Image.open(out) as picture:
        assert picture.size == (1500, 840)
        assert len(picture.getcolors(maxcolors=100_000)) > 50
