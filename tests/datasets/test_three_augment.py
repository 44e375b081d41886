"""3-Augment against torchvision and Pillow."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageFilter
from torchvision import transforms

from vil_mm.datasets import ThreeAugment
from vil_mm.datasets.replay import seed_everything

RADIUS = 1.37
REFERENCE = {
    'grayscale': transforms.Grayscale(3),
    'solarize': transforms.RandomSolarize(128, p=1.0),
    'blur': lambda image: image.filter(ImageFilter.GaussianBlur(RADIUS)),
}


@pytest.fixture(scope='module')
def colours() -> np.ndarray:
    """Noise ``(64, 96, 3)`` in RGB; its first row has every value in all channels alike."""
    image = np.random.default_rng(0).integers(0, 256, (64, 256, 3), dtype=np.uint8)
    image[0] = np.arange(256, dtype=np.uint8)[:, None]
    return image


def drawing(operation: str) -> ThreeAugment:
    """A transform that has drawn this operation."""
    transform = ThreeAugment()
    transform.draw = lambda: (operation, RADIUS)
    return transform


@pytest.mark.parametrize('operation', REFERENCE)
def test_operation_gives_the_pixels_of_torchvision_and_pillow(colours, operation):
    results = drawing(operation)(dict(img=colours[..., ::-1], gt_label=3))
    expected = np.asarray(REFERENCE[operation](Image.fromarray(colours)))
    np.testing.assert_array_equal(results['img'][..., ::-1], expected)
    assert results['img'].dtype == np.uint8 and results['img'].flags.c_contiguous
    assert results['gt_label'] == 3


def test_solarize_starts_at_128(colours):
    row = drawing('solarize')(dict(img=colours))['img'][0, :, 0]
    assert (row[127], row[128], row[255]) == (127, 127, 0)


def test_each_operation_has_a_third_and_the_radius_is_uniform():
    seed_everything(0)
    drawn = [ThreeAugment().draw() for _ in range(3000)]
    shares = Counter(operation for operation, _ in drawn)
    assert set(shares) == set(REFERENCE)
    assert all(900 < share < 1100 for share in shares.values()), shares
    radii = np.array([radius for _, radius in drawn])
    assert 0.1 <= radii.min() < 0.12 and 1.98 < radii.max() <= 2.0
    assert radii.mean() == pytest.approx(1.05, abs=0.03)


def test_exactly_one_operation_is_applied(colours):
    """Whatever is drawn, the picture is one of three, and never the picture itself."""
    seen = set()
    for seed in range(40):
        seed_everything(seed)
        operation, radius = ThreeAugment().draw()
        seed_everything(seed)
        result = ThreeAugment()(dict(img=colours[..., ::-1].copy()))['img'][..., ::-1]
        image = Image.fromarray(colours)
        expected = dict(
            grayscale=image.convert('L').convert('RGB'),
            solarize=REFERENCE['solarize'](image),
            blur=image.filter(ImageFilter.GaussianBlur(radius)),
        )
        equal = {name for name, x in expected.items() if np.array_equal(np.asarray(x), result)}
        assert equal == {operation}
        seen.add(operation)
    assert seen == set(REFERENCE)


def test_the_input_is_left_as_it_was(colours):
    image = colours.copy()
    for seed in range(6):
        seed_everything(seed)
        ThreeAugment()(dict(img=image))
    np.testing.assert_array_equal(image, colours)


@pytest.mark.parametrize(
    'image',
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)],
    ids=['float', 'grey', 'alpha'],
)
def test_another_kind_of_image_is_refused(image):
    with pytest.raises(ValueError, match=r'uint8 and shape \(H, W, 3\), got'):
        ThreeAugment()(dict(img=image))


def test_registered():
    assert TRANSFORMS.get('ThreeAugment') is ThreeAugment
