"""Images of any number of bands: loaded whole, and shown by a stated rule."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS

from vil_mm.datasets import LoadMultispectralImage
from vil_mm.datasets.reading import ImageReader

DTYPES = ['uint8', 'uint16', 'int16', 'float32']


def bands(count: int, dtype: str = 'uint16') -> np.ndarray:
    """An image ``(20, 30, count)`` of random numbers, some below 0 where the type has them."""
    values = np.random.default_rng(count).uniform(
        -200 if dtype[0] in 'if' else 0, 255, (20, 30, count)
    )
    return values.astype(dtype)


def load(path: Path, **options: object) -> np.ndarray:
    results = LoadMultispectralImage(**options)({'img_path': str(path)})
    assert results['img_shape'] == results['ori_shape'] == results['img'].shape[:2]
    return results['img']


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('kind', ['interleaved', 'planar', 'pages', 'rows', 'deflated', 'big'])
@pytest.mark.parametrize('count', [1, 3, 4, 6])
def test_tiff(tmp_path, count: int, kind: str, dtype: str) -> None:
    tifffile = pytest.importorskip('tifffile')
    image, first = bands(count, dtype), {'photometric': 'minisblack'}
    stored = np.moveaxis(image, -1, 0) if kind in ('planar', 'pages') else image
    if count > 1:
        plans = {'planar': {'planarconfig': 'separate'}, 'pages': {}, 'rows': {}}
        first.update(plans.get(kind, {'planarconfig': 'contig'}))
    first.update({'deflated': {'compression': 'zlib'}, 'big': {'bigtiff': True}}.get(kind, {}))
    tifffile.imwrite(tmp_path / 'x.tif', stored if count > 1 else image[..., 0], **first)
    found = load(tmp_path / 'x.tif')
    assert found.dtype == (np.uint8 if dtype == 'uint8' else np.float32)
    assert np.array_equal(found, image)


@pytest.mark.parametrize('count', [1, 3, 4])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16'])
def test_png_has_red_first(tmp_path, count: int, dtype: str) -> None:
    image = bands(count, dtype)
    swapped = image[..., [2, 1, 0, 3][:count]] if count > 1 else image
    cv2.imwrite(str(tmp_path / 'x.png'), swapped)
    assert np.array_equal(load(tmp_path / 'x.png'), image)


def test_chosen_bands(tmp_path) -> None:
    image = bands(4, 'uint8')
    cv2.imwrite(str(tmp_path / 'x.png'), image[..., [2, 1, 0, 3]])
    assert np.array_equal(load(tmp_path / 'x.png', bands=[3, 0]), image[..., [3, 0]])
    with pytest.raises(ValueError, match=r'x\.png has 4 bands.*cannot load bands=\[0, 4\]'):
        load(tmp_path / 'x.png', bands=[0, 4])


def test_what_cannot_be_read_is_named(tmp_path) -> None:
    for name, content in [('text.tif', b'no'), ('empty.png', b''), ('cut.tif', b'II*\0\x08\0')]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            load(tmp_path / name)
    with pytest.raises(ValueError, match='rgb must name three bands'):
        LoadMultispectralImage(rgb=(0, 1))
    with pytest.raises(ValueError, match='bands are counted from 0'):
        LoadMultispectralImage(bands=[-1])


def test_values_that_are_not_finite(tmp_path) -> None:
    tifffile = pytest.importorskip('tifffile')
    image = bands(1, 'float32')[..., 0]
    image[3, 4] = np.nan
    tifffile.imwrite(tmp_path / 'x.tif', image)
    with pytest.raises(ValueError, match=r'x\.tif: 1 values are NaN or infinite'):
        load(tmp_path / 'x.tif')


def test_a_stack_of_images_is_none(tmp_path) -> None:
    tifffile = pytest.importorskip('tifffile')
    tifffile.imwrite(tmp_path / 'x.tif', np.zeros((2, 5, 6, 3), np.uint8), photometric='rgb')
    with pytest.raises(
        ValueError, match=r'x\.tif does not hold a single image: its axes are .*=2, Y=5'
    ):
        load(tmp_path / 'x.tif')


def test_registered() -> None:
    loader = TRANSFORMS.build(dict(type='LoadMultispectralImage', bands=[0], _scope_='mmseg'))
    assert repr(loader) == 'LoadMultispectralImage(bands=[0], rgb=(0, 1, 2))'


# pictures


@pytest.mark.parametrize(
    ('loader', 'channels', 'shown'),
    [
        (LoadImageFromFile(), 3, [2, 1, 0]),
        (LoadImageFromFile(color_type='unchanged'), 4, [2, 1, 0]),
        (LoadImageFromFile(color_type='grayscale'), 1, [0, 0, 0]),
        (LoadImageFromFile(color_type='unchanged', imdecode_backend='tifffile'), 6, [0, 1, 2]),
        (LoadMultispectralImage(), 6, [0, 1, 2]),
        (LoadMultispectralImage(rgb=(3, 0, 1)), 4, [3, 0, 1]),
        (LoadMultispectralImage(), 2, [0, 0, 0]),
        (LoadMultispectralImage(rgb=(5, 4, 3)), 1, [0, 0, 0]),
    ],
    ids=lambda x: x if isinstance(x, int) else None,
)
def test_three_bands_are_shown(loader, channels: int, shown: list[int]) -> None:
    image = bands(channels, 'uint8')
    assert np.array_equal(ImageReader([loader]).picture(image), image[..., shown])
    if channels == 1:
        assert np.array_equal(ImageReader([loader]).picture(image[..., 0]), image[..., shown])


def test_other_depths_are_stretched() -> None:
    reader = ImageReader([LoadMultispectralImage()])
    image = np.linspace([0, 100, -5], [1000, 200, 5], 101, dtype=np.float32)[None]
    picture = reader.picture(image)
    expected = ((np.arange(101) - 2) / 96 * 255).clip(0, 255).round()
    assert np.abs(picture[0].astype(float) - expected[:, None]).max() <= 1
    assert (reader.picture(np.full((4, 4, 3), 7, np.float32)) == 0).all(), 'no division by 0'


def test_floats_of_8_bit_values_are_not_stretched() -> None:
    reader = ImageReader([LoadImageFromFile(to_float32=True)])
    image = np.full((2, 2, 3), 99.6, np.float32)
    image[0, 0] = 300
    assert reader.picture(image).reshape(-1, 3)[:, 0].tolist() == [255, 100, 100, 100]


def test_a_pipeline_without_loading() -> None:
    with pytest.raises(ValueError, match='no transform that loads images'):
        ImageReader([])
