"""Figures and their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vil_mm.pictures.figures import new_figure, save_figure


def test_a_figure_becomes_a_picture(tmp_path: Path) -> None:
    path = save_figure(new_figure(2, 1), tmp_path / 'new' / 'a.png')
    with Image.open(path) as picture:
        assert picture.format == 'PNG' and picture.size == (300, 150)
    assert [x.name for x in path.parent.iterdir()] == ['a.png']
    with Image.open(save_figure(new_figure(2, 1), tmp_path / 'no_ending', dpi=50)) as picture:
        assert picture.format == 'PNG' and picture.size == (100, 50)


def test_a_format_that_is_not_known_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'abc' is not supported"):
        save_figure(new_figure(2, 1), tmp_path / 'a.abc')
    assert not list(tmp_path.iterdir())
