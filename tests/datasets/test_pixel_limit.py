"""Images that declare more pixels than they may have are refused before they are decoded."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vil_mm.datasets.multispectral import read_bands
from vil_mm.datasets.pixel_limit import VARIABLE, TooManyPixelsError, check_pixels


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'x.png'
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(path)
    return path


def test_limit(image, monkeypatch) -> None:
    check_pixels(image)
    monkeypatch.setenv(VARIABLE, '1200')
    check_pixels(image)
    monkeypatch.setenv(VARIABLE, '1199')
    with pytest.raises(TooManyPixelsError, match=rf'^{image} has more pixels \(1,200\)') as error:
        check_pixels(image)
    assert VARIABLE in str(error.value)
    monkeypatch.setenv(VARIABLE, 'many')
    with pytest.raises(ValueError, match='expected a number of pixels'):
        check_pixels(image)


def test_default_is_where_pillow_fails(image, monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
    with pytest.raises(TooManyPixelsError, match='has more pixels than the limit of 178,956,970'):
        check_pixels(image.read_bytes(), image)


def test_bands(tmp_path, monkeypatch) -> None:
    tifffile = pytest.importorskip('tifffile')
    path = tmp_path / 'x.tif'
    tifffile.imwrite(path, np.zeros((13, 30, 40), np.uint16), photometric='minisblack')
    assert read_bands(path.read_bytes(), 'x.tif').shape == (30, 40, 13)
    monkeypatch.setenv(VARIABLE, '1000')
    with pytest.raises(TooManyPixelsError, match=r'^x\.tif has more pixels'):
        read_bands(path.read_bytes(), 'x.tif')


def test_damaged_files_are_left_to_the_decoder(tmp_path) -> None:
    for content in (b'', b'no image'):
        check_pixels(content, 'x.png')
    check_pixels(tmp_path / 'missing.png')
