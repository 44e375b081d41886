from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from mmseg.models import SegDataPreProcessor

from vil_mm.datasets import CenteredPad

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def pair(height: int, width: int) -> dict:
    rng = np.random.default_rng(0)
    return dict(
        img=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        gt_seg_map=rng.integers(0, 150, (height, width), dtype=np.uint8),
        seg_fields=['gt_seg_map'],
    )


@pytest.mark.parametrize(
    ('size', 'padding'),
    [
        ((20, 30), (0, 0, 0, 0)),
        ((16, 30), (0, 0, 2, 2)),
        ((15, 27), (1, 2, 2, 3)),  # odd pixels: to the right, to the bottom
        ((19, 40), (0, 0, 0, 1)),  # too wide is left to the crop
    ],
    ids=str,
)
def test_padding_after_normalisation_is_zero_and_ignored(size, padding):
    """Equal to torch's pad of the normalised image; padding is (left, right, top, bottom)."""
    results = pair(*size)
    image, labels = results['img'], torch.from_numpy(results['gt_seg_map'])
    normalise = SegDataPreProcessor(mean=MEAN, std=STD, bgr_to_rgb=True)
    padded = CenteredPad(size=(20, 30), mean=MEAN)(dict(results))

    def inputs(array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array.transpose(2, 0, 1).copy())
        return normalise({'inputs': [tensor]})['inputs'][0]

    expected = torch.nn.functional.pad(inputs(image), padding)
    assert torch.equal(inputs(padded['img']), expected)
    expected = torch.nn.functional.pad(labels, padding, value=255)
    assert torch.equal(torch.from_numpy(padded['gt_seg_map']), expected)
    assert padded['gt_seg_map'].dtype == np.uint8
    assert padded['img_shape'] == padded['pad_shape'] == padded['img'].shape[:2]


def test_an_image_that_lacks_nothing_is_not_touched():
    results = pair(20, 30)
    image = results['img']
    assert CenteredPad(size=(20, 20), mean=MEAN)(results)['img'] is image


def test_every_map_is_padded():
    results = pair(10, 10)
    results.update(
        gt_edge_map=np.ones((10, 10), np.uint8), seg_fields=['gt_seg_map', 'gt_edge_map']
    )
    padded = CenteredPad(size=(12, 12), mean=MEAN, seg_pad_val=9)(results)
    assert padded['gt_edge_map'].sum() == 100 + 44 * 9
    assert padded['gt_seg_map'].shape == (12, 12)


def test_bad_input():
    with pytest.raises(ValueError, match='mean has 3 values, but the image has 1 channels'):
        CenteredPad(size=(8, 8), mean=MEAN)(dict(img=np.zeros((4, 4), np.uint8)))


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 6])
def test_any_number_of_channels(channels):
    mean = [10.5 * (c + 1) for c in range(channels)]
    image = np.zeros((4, 6, channels), np.float32)
    pad = CenteredPad(size=(6, 6), mean=mean, bgr_to_rgb=False)
    assert pad(dict(img=image))['img'][0, 0].tolist() == mean
    if channels == 1:
        assert pad(dict(img=image[..., 0]))['img'][0, 0] == mean[0]


def test_registered():
    pad = TRANSFORMS.build(dict(type='CenteredPad', size=(8, 8), mean=MEAN))
    assert repr(pad) == f'CenteredPad(size=(8, 8), mean={MEAN}, seg_pad_val=255, bgr_to_rgb=True)'
