"""Principal components of tokens as colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vil_mm.models import VisionLSTM
from vil_mm.pictures.features import component_maps, default_blocks, draw_features, tap_maps
from vil_mm.pictures.samples import Sample


def build(**options) -> VisionLSTM:
    torch.manual_seed(0)
    arch = {'embed_dims': 16, 'num_layers': 6}
    options = {'arch': arch, 'img_size': 32, 'patch_size': 8} | options
    return VisionLSTM(**options).eval()


def image(height: int = 32, width: int = 40) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_taps_are_what_the_backbone_gives() -> None:
    model = build(out_indices=(0, 2), final_norm=False)
    with torch.no_grad():
        wanted = model(image())
    for got, want in zip(tap_maps(model, image(), [0, 2]), wanted, strict=True):
        assert torch.equal(got.permute(0, 3, 1, 2), want)
    assert not any(block._forward_hooks for block in model.blocks), 'hooks are taken off again'


@pytest.mark.parametrize(
    'options', [{'version': 1}, {'traversal': 'quad'}, {'out_type': 'bilateral_concat'}]
)
def test_other_backbones(options: dict) -> None:
    (tokens,) = tap_maps(build(**options), image(), [2])
    assert tokens.shape == (1, 4, 5, 16)


def test_components_are_the_directions_of_largest_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([1.0, 9.0, 0.1, 4.0, 2.0, 0.2])
    tokens = torch.randn(30, 40, 6, generator=generator) * sizes
    maps = component_maps([tokens])
    (picture,) = maps.pictures
    for colour, channel in enumerate((1, 3, 4)):  # by variance
        expected = tokens[..., channel].numpy()
        correlation = np.corrcoef(picture[..., colour].ravel(), expected.ravel())[0, 1]
        assert correlation > 0.95, 'the largest weight of a component is positive'
    assert picture.min() == 0 and picture.max() == 1
    assert maps.explained == pytest.approx(101 / (101 + 1 + 0.01 + 0.04), abs=0.01)


def test_a_colour_means_the_same_in_all_images() -> None:
    tokens = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    other = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(1))
    other[0, 0] = tokens[0, 0]
    first, second = component_maps([tokens, other]).pictures
    assert first.shape == (2, 3, 3) and second.shape == (4, 2, 3)
    assert np.array_equal(first[0, 0], second[0, 0])


def test_pictures_are_the_same_each_time() -> None:
    model = build()
    first, second = (
        component_maps(list(tap_maps(model, image(), [1])[0])).pictures[0] for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_equal_tokens_have_no_components() -> None:
    maps = component_maps([torch.ones(2, 2, 4)])
    assert np.isfinite(maps.pictures[0]).all() and maps.explained == 0


def test_default_blocks() -> None:
    assert default_blocks(build(out_indices=(0, 2))) == [0, 2]
    assert default_blocks(VisionLSTM('tiny')) == [3, 5, 7, 11]
    assert default_blocks(build(arch={'embed_dims': 16, 'num_layers': 1})) == [0]


def test_block_that_is_not_run() -> None:
    with pytest.raises(ValueError, match='no block 3: the backbone runs blocks 1 to 2'):
        tap_maps(build(out_indices=(1,)), image(), [2])


def test_figure_names_the_blocks() -> None:
    samples = [
        Sample('a', image(), np.ones((32, 40, 3))),
        Sample('b', image(24), np.ones((24, 40, 3))),
    ]
    figure = draw_features(build(), samples, 'a title', [0, 2])
    titles = [ax.get_title() for ax in figure.axes[:3]]
    assert titles[0] == 'input' and [x.split('\n')[0] for x in titles[1:]] == [
        'after block 1',
        'after block 3',
    ]
    assert len(figure.axes) == 6 and 'a title' in figure.get_suptitle()
