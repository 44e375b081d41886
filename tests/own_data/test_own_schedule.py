"""Sizes and length by device and data, and the text of the config."""

from __future__ import annotations

import pytest

from vil_mm.own_data.config import Name, literal
from vil_mm.own_data.schedule import plan_schedule

PHONE, SMALL, TALL = (4000, 3000), (96, 96), (300, 1200)


def plan(size: tuple[int, int], num_train: int = 10, **options):
    defaults = dict(on_cpu=True, from_segmentor=True, pretrained=True)
    return plan_schedule([size], num_train, **{**defaults, **options})


@pytest.mark.parametrize('size', [PHONE, SMALL, TALL, (480, 360)])
@pytest.mark.parametrize('on_cpu', [True, False])
def test_crops_are_whole_patches_within_the_photo(size, on_cpu):
    schedule = plan(size, on_cpu=on_cpu)
    rows, columns = schedule.crop_size
    scale = schedule.short_side / min(size)
    assert rows % 16 == columns % 16 == 0
    assert rows <= size[1] * scale + 16 and columns <= size[0] * scale + 16
    assert rows * columns <= 1.1 * (160 * 208 if on_cpu else 512 * 512)


def test_twelve_photos_on_a_cpu():
    """The length that ends in some minutes of two cores."""
    schedule = plan((480, 360))
    assert (schedule.max_iters, schedule.batch_size, schedule.crop_size) == (200, 4, (160, 208))
    assert plan((480, 360), from_segmentor=False).max_iters == 400


def test_more_data_and_gpus_take_more_updates():
    assert plan(PHONE, 5000).max_iters == 1000
    assert plan(PHONE, 5000, on_cpu=False).max_iters == 20000
    assert plan(PHONE, on_cpu=False).crop_size == (448, 592)
    assert plan(PHONE, max_iters=7, crop_size=(32, 48), batch_size=3).max_iters == 7


def test_literals_are_read_as_they_were():
    value = {
        'out': (1,), 'type': 'A', 'deep': [{'b': 'x' * 60, 'c': [1.5, None, True]}, {1: 'y' * 30}],
    }  # fmt: skip
    text = literal(value)
    assert eval(text) == value and text.startswith("dict(\n    type='A',")
    assert max(map(len, text.splitlines())) <= 100
    assert literal({'n': Name('classes')}) == 'dict(n=classes)'
