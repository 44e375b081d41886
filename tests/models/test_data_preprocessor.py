"""Normalisation by a mean and std of any length."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

from vil_mm.models import MultibandSegDataPreProcessor


@pytest.mark.parametrize('channels', [1, 2, 4, 6])
def test_each_channel_by_its_own(channels: int) -> None:
    mean, std = [3.0 * c + 1 for c in range(channels)], [0.5 + c for c in range(channels)]
    cfg = dict(type='MultibandSegDataPreProcessor', mean=mean, std=std, bgr_to_rgb=True)
    image = torch.randn(channels, 5, 7)
    (found,) = MODELS.build(cfg)({'inputs': [image]})['inputs']
    for c in range(channels):
        assert torch.equal(found[c], (image[c] - mean[c]) / std[c])


def test_for_rgb_it_is_that_of_mmseg() -> None:
    options = dict(mean=[1.0, 2, 3], std=[4.0, 5, 6], bgr_to_rgb=True, test_cfg=dict(size=(9, 9)))
    image = torch.randint(256, (3, 5, 7), dtype=torch.uint8)

    def run(kind: type) -> torch.Tensor:
        data = {'inputs': [image.clone()], 'data_samples': [SegDataSample()]}
        return kind(**options)(data)['inputs']

    assert torch.equal(run(MultibandSegDataPreProcessor), run(SegDataPreProcessor))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match='mean and std need one value a channel'):
        MultibandSegDataPreProcessor(mean=[1.0], std=[1.0, 2.0])
    with pytest.raises(ValueError, match='mean and std need one value a channel'):
        MultibandSegDataPreProcessor(mean=[1.0])
    normalise = MultibandSegDataPreProcessor(mean=[0.0] * 4, std=[1.0] * 4)
    with pytest.raises(ValueError, match=r'images have 3 channels, but .*mean has 4 values'):
        normalise({'inputs': [torch.zeros(3, 4, 4)]})
    one = MultibandSegDataPreProcessor(mean=[1.0], std=[2.0])
    assert (one({'inputs': [torch.ones(5, 4, 4)]})['inputs'] == 0).all(), 'one value for all'
