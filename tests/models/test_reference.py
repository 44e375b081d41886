"""The backbone against a slow and obvious one, in float64, gradients included."""

from __future__ import annotations

import pytest
import torch

import reference
from vil_mm.layers import POOLINGS, TRAVERSALS
from vil_mm.models import VisionLSTM

WIDTH = 16


def build(num_layers: int = 4, **options) -> VisionLSTM:
    """A small backbone without one weight that is 0 or 1."""
    torch.manual_seed(0)
    arch = dict(embed_dims=WIDTH, num_layers=num_layers)
    model = VisionLSTM(arch, img_size=(12, 20), patch_size=4, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def compare(model: VisionLSTM, images: torch.Tensor, stride: int = 4) -> None:
    """Output and the gradient of every parameter."""
    options = dict(version=model.version, traversal=model.traversal, out_type=model.out_type)
    weights = dict(model.named_parameters())
    num_layers = sum(len(block.layers) for block in model.blocks)
    expected = reference.vision_lstm(
        weights, images, num_layers=num_layers, stride=stride, **options
    )
    (got,) = model(images)
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    cotangent = torch.randn_like(got)
    ours = torch.autograd.grad(got, weights.values(), cotangent)
    theirs = torch.autograd.grad(expected, weights.values(), cotangent)
    for name, a, b in zip(weights, ours, theirs, strict=True):
        error = (a - b).abs().max() / b.abs().max().clamp(min=1e-6)
        assert error < 1e-7, f'gradient of {name}: {error}'


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('traversal', TRAVERSALS)
def test_traversals(version: int, traversal: str) -> None:
    model = build(version=version, traversal=traversal, out_type='raw')
    compare(model, torch.randn(2, 3, 12, 20, dtype=torch.float64))


@pytest.mark.parametrize('out_type', POOLINGS)
@pytest.mark.parametrize('size', [(12, 20), (16, 16)], ids=['odd', 'even'])
def test_poolings(out_type: str, size: tuple[int, int]) -> None:
    model = build(2, version=1, out_type=out_type)
    compare(model, torch.randn(2, 3, *size, dtype=torch.float64))


@pytest.mark.parametrize('traversal', ['unidirectional', 'bidirectional', 'alternating'])
def test_class_token_in_the_middle(traversal: str) -> None:
    model = build(3, version=1, traversal=traversal, out_type='middle_cls')
    compare(model, torch.randn(2, 3, 12, 20, dtype=torch.float64))


@pytest.mark.parametrize('version', [1, 2])
def test_odd_number_of_layers(version: int) -> None:
    """As T+, whose last block has one layer, from the top left."""
    model = build(5, version=version, out_type='bilateral_avg')
    compare(model, torch.randn(2, 3, 12, 20, dtype=torch.float64))


@pytest.mark.parametrize('version', [1, 2])
def test_overlapping_patches(version: int) -> None:
    """As stride 8: 5 x 9 tokens, position embedding of 3 x 5."""
    model = build(2, version=version, stride=2, out_type='raw')
    assert model.pos_embed.embed.shape == (1, 3, 5, WIDTH)
    compare(model, torch.randn(2, 3, 12, 20, dtype=torch.float64), stride=2)
