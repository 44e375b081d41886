"""The backbone without a runner or a config: a module, an optimizer, decoders of other makers."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from vil_mm.models import VisionLSTM

SMALL = dict(embed_dims=16, num_layers=8)


class Decoder(nn.Module):
    """docs/other_tasks.md has the same: maps of one size, added up and brought to the image's."""

    def __init__(self, channels: list[int], num_classes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, 32, 1) for c in channels)
        self.classify = nn.Conv2d(32, num_classes, 3, padding=1)

    def forward(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        x = sum(conv(x) for conv, x in zip(self.lateral, maps, strict=True))
        return F.interpolate(self.classify(F.gelu(x)), size, mode='bilinear')


def test_the_line_of_the_docs():
    features = VisionLSTM('small')(torch.randn(1, 3, 64, 96))
    assert [x.shape for x in features] == [(1, 384, 4, 6)]


@pytest.mark.parametrize('out_type', ['featmap', 'bilateral_concat'])
def test_channels_and_strides_are_those_of_the_outputs(out_type):
    model = VisionLSTM(SMALL, out_indices=(0, 2, 3), out_type=out_type, stride=8)
    outputs = model.eval()(torch.randn(1, 3, 64, 64))
    assert model.channels == [x.shape[1] for x in outputs]
    if out_type == 'featmap':
        model = VisionLSTM(SMALL, out_indices=(0, 2, 3))
        height = model(torch.randn(1, 3, 64, 64))[0].shape[2]
        assert model.strides == [64 // height] * 3 == [16] * 3


def test_strides_of_patches_that_overlap():
    assert VisionLSTM(SMALL, stride=8).strides == [8]


def test_a_decoder_by_hand_learns():
    """Ten steps on one batch, and every weight of backbone and decoder is part of it."""
    torch.manual_seed(0)
    backbone = VisionLSTM(SMALL, img_size=64, out_indices=(0, 1, 2, 3))
    decoder = Decoder(backbone.channels, num_classes=2)
    model = nn.ModuleList([backbone, decoder])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    images = torch.randn(2, 3, 48, 80)
    labels = torch.zeros(2, 48, 80, dtype=torch.long)
    labels[:, :, 40:] = 1
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(decoder(backbone(images), images.shape[2:]), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_pyramid_of_torchvision():
    """A neck of another package: maps of ViL, pooled to the sizes that it merges."""
    backbone = VisionLSTM(SMALL, img_size=64, out_indices=(1, 3))
    neck = FeaturePyramidNetwork(backbone.channels, out_channels=24)
    fine, coarse = backbone(torch.randn(1, 3, 64, 96))
    levels = neck(OrderedDict(fine=fine, coarse=F.max_pool2d(coarse, 2)))
    assert {name: x.shape[1:] for name, x in levels.items()} == {
        'fine': (24, 4, 6),
        'coarse': (24, 2, 3),
    }
    sum(x.mean() for x in levels.values()).backward()
    assert backbone.patch_embed.proj.weight.grad.abs().sum() > 0
