from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from vil_mm.models import SumLogitsTTAModel


class Echo(nn.Module):
    """A segmentor whose logits ``(2, 1, 1)`` are its input."""

    out_channels = 2

    def test_step(self, data: dict) -> list[SegDataSample]:
        for sample, logits in zip(data['data_samples'], data['inputs'], strict=True):
            sample.seg_logits = PixelData(data=logits.clone())
            sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))
        return data['data_samples']


def logits(first: float, second: float) -> Tensor:
    return torch.tensor([first, second], dtype=torch.float).view(2, 1, 1)


def test_logits_are_summed_image_by_image():
    """Two images in three passes; of the first, probabilities would favour class 1."""
    passes = [
        [logits(9, 0), logits(0, 1)],
        [logits(0, 4), logits(0, 1)],
        [logits(0, 4), logits(0, 1)],
    ]
    samples = [[SegDataSample(metainfo=dict(name=f'{p}{i}')) for i in range(2)] for p in range(3)]
    merged = SumLogitsTTAModel(Echo()).test_step(dict(inputs=passes, data_samples=samples))
    assert [sample.name for sample in merged] == ['00', '01'], 'of the first pass, unflipped'
    assert [sample.seg_logits.data.flatten().tolist() for sample in merged] == [[9, 8], [0, 3]]
    assert [sample.pred_sem_seg.data.tolist() for sample in merged] == [[[[0]]], [[[1]]]]
    probabilities = torch.stack([batch[0] for batch in passes]).softmax(1).mean(0)
    assert probabilities.argmax() == 1


def test_logits_of_later_passes_are_not_kept():
    """At every pass no logits are alive but the sum's."""
    alive = []

    class Watched(Echo):
        def test_step(self, data: dict) -> list[SegDataSample]:
            alive.append(sum('seg_logits' in sample for samples in kept for sample in samples))
            return super().test_step(data)

    kept = [[SegDataSample()] for _ in range(5)]
    data = dict(inputs=[[logits(1, 2)]] * 5, data_samples=kept)
    SumLogitsTTAModel(Watched()).test_step(data)
    assert alive == [0, 1, 1, 1, 1]


def test_probabilities_are_refused():
    segmentor = Echo()
    segmentor.out_channels = 1
    with pytest.raises(ValueError, match='out_channels=1 returns probabilities'):
        SumLogitsTTAModel(segmentor)


def test_registered():
    assert MODELS.get('SumLogitsTTAModel') is SumLogitsTTAModel
