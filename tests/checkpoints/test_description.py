"""Models told from their weights."""

from __future__ import annotations

import published
import pytest
import torch

from vil_mm.checkpoints import describe, from_official, to_official
from vil_mm.checkpoints.architectures import ARCHS, make_arch_option
from vil_mm.models import VisionLSTM

SMALL = dict(patch=4, grid=(4, 5), classes=7)


@pytest.mark.parametrize('layout', ['raw', 'inference'])
@pytest.mark.parametrize('name', published.HUB)
def test_every_published_model(name: str, layout: str) -> None:
    row = published.HUB[name]
    official = published.raw_weights(row.version, row.dim, row.layers, device='meta')
    if layout == 'inference':
        official = published.inference_weights(official, row.version)
    found = describe({'state_dict': official})
    letter = {192: 'T', 384: 'S', 768: 'B'}[row.dim]
    assert found.name == f'ViL-{letter}{"+" if row.layers in (26, 29) else ""}'
    assert (found.layout, found.version) == (layout, row.version)
    assert (found.embed_dims, found.num_layers, found.num_scans) == (row.dim, row.layers, 1)
    assert (found.patch_size, found.grid, found.in_channels) == (16, (14, 14), 3)
    assert (found.num_classes, found.class_token) == (1000, False)
    assert found.pooled_width == (2 * row.dim if row.version == 2 else row.dim)
    assert found.num_parameters == row.parameters
    assert list(to_official(from_official(official))) == list(official)


@pytest.mark.parametrize('name', ARCHS)
def test_architectures_are_told_apart(name: str) -> None:
    with torch.device('meta'):
        backbone = VisionLSTM(name)
    found = describe(backbone.state_dict())
    assert found.name == ARCHS[name].title
    assert make_arch_option(found.embed_dims, found.num_layers) == name


@pytest.mark.parametrize(
    ('scans', 'number', 'version', 'parameters'),
    [
        (('',), 1, 1, 6_088_360),
        (('', '_rev'), 2, 1, 6_484_840),
        (('', '_rev', '_du', '_ud'), 4, 1, 7_277_800),
    ],
    ids=['one scan', 'bidirectional', 'quad'],
)
def test_block_designs(scans, number: int, version: int, parameters: int) -> None:
    found = describe(published.raw_weights(version, 192, 24, scans=scans, device='meta'))
    assert found.num_scans == number
    assert found.num_parameters == parameters
    assert ('scans' in str(found)) == (number > 1)


@pytest.mark.parametrize('of', ['classifier', 'backbone', 'segmentor'])
@pytest.mark.parametrize('version', [1, 2])
def test_our_own(version: int, of: str) -> None:
    arch = dict(embed_dims=16, num_layers=5)
    options = {} if of == 'segmentor' else dict(out_type='bilateral_concat')
    backbone = VisionLSTM(arch, version, (16, 20), 4, in_channels=5, **options)
    state = backbone.state_dict()
    expected = sum(value.numel() for value in state.values())
    if of != 'backbone':
        state = {f'backbone.{key}': value for key, value in state.items()}
    if of == 'classifier':
        state.update({'head.fc.weight': torch.zeros(7, 32), 'head.fc.bias': torch.zeros(7)})
        expected += 7 * 33
    if of == 'segmentor':
        state['decode_head.conv_seg.weight'] = torch.zeros(7, 16, 1, 1)
    found = describe(state)
    assert found.layout is None and found.name == 'ViL'
    assert (found.version, found.embed_dims, found.num_layers) == (version, 16, 5)
    assert (found.patch_size, found.grid, found.in_channels) == (4, (4, 5), 5)
    assert found.pooled_width == (None if of == 'segmentor' else 32)
    assert found.num_classes == (7 if of == 'classifier' else None)
    assert found.num_parameters == expected


def test_in_words() -> None:
    found = describe(published.raw_weights(1, 192, 29, device='meta'))
    expected = 'ViL-T+ version 1 (192 channels, 29 layers, patches of 16, grid 14x14)'
    assert str(found) == expected


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'pos_embed.embed': torch.zeros(1, 197, 16)}, r'embed has the shape \(1, 197, 16\)'),
        ({'patch_embed.proj.weight': torch.zeros(16)}, 'patch_embed.proj.weight has the shape'),
        ({'patch_embed.proj.weight': torch.zeros(16, 3, 0, 0)}, 'has the shape'),
        ({'head.1.weight': torch.zeros(7)}, None),
    ],
    ids=['position embedding of a ViT', 'no kernel', 'empty kernel', 'head'],
)
def test_shapes_that_say_nothing(change: dict, words: str | None) -> None:
    state = published.raw_weights(1, 16, 2, **SMALL) | change
    with pytest.raises(ValueError, match=words or 'has the shape') as error:
        describe(state)
    assert 'not the weights of a ViL' in str(error.value)


@pytest.mark.parametrize(
    'state',
    [{}, {'a': torch.zeros(1)}, {'backbone.patch_embed.proj.weight': 3}, {'blocks.x': None}],
    ids=['empty', 'other', 'no tensor', 'nothing'],
)
def test_other_things(state: dict) -> None:
    with pytest.raises(ValueError, match='not the weights of a ViL'):
        describe(state)
