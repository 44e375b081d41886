"""Receptive fields: which patches a token depends on after each layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vil_mm.models import VisionLSTM
from vil_mm.pictures.receptive_field import (
    default_layers,
    draw_fields,
    layer_name,
    receptive_fields,
)

GRID = (5, 6)


def build(**options) -> VisionLSTM:
    torch.manual_seed(0)
    arch = {'embed_dims': 16, 'num_layers': 4}
    options = {'arch': arch, 'img_size': 40, 'patch_size': 8} | options
    model = VisionLSTM(**options).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def images(count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = (1, 3, 8 * GRID[0], 8 * GRID[1])
    return [torch.randn(size, generator=generator).double() for _ in range(count)]


def test_a_forward_layer_sees_nothing_later() -> None:
    first, both = receptive_fields(build(version=1), images(), [0, 1])
    at = first.token[0] * GRID[1] + first.token[1]
    assert (first.energy.ravel()[: at + 1] > 0).all(), 'all that was read, and itself'
    assert (first.energy.ravel()[at + 1 :] == 0).all(), 'exactly nothing of what comes later'
    assert first.shares[2] == 0
    assert (both.energy > 0).all(), 'after a pair of layers everything'


def test_the_convolution_on_the_grid_looks_one_row_ahead() -> None:
    first, both = receptive_fields(build(version=2), images(), [0, 1])
    row, column = first.token
    at = row * GRID[1] + column
    reach = at + GRID[1] + 1  # the patch below to the right, seen by its own convolution
    assert (first.energy.ravel()[: at + 1] > 0).all()
    assert first.energy[row + 1, column + 1] > 0
    assert (first.energy.ravel()[reach + 1 :] == 0).all()
    assert (both.energy > 0).all()


def test_quad_sees_everything_after_one_layer() -> None:
    (first,) = receptive_fields(build(version=1, traversal='quad'), images(1), [0])
    assert (first.energy > 0).all()


def test_shares_add_up() -> None:
    for field in receptive_fields(build(), images(1), [0, 3]):
        assert field.energy.shape == GRID and field.token == (2, 3)
        assert field.energy.sum() == pytest.approx(1)
        before, own, after = field.shares
        assert before == pytest.approx(field.energy.ravel()[:15].sum())
        assert own == field.energy[2, 3] and before + own + after == pytest.approx(1)


def test_random_signs_give_the_squared_gradient_of_all_channels() -> None:
    model = build(arch={'embed_dims': 4, 'num_layers': 1})
    (x,) = images(1)
    (field,) = receptive_fields(model, [x] * 120, [0])
    jacobian = torch.autograd.functional.jacobian(
        lambda x: model.blocks[0](model.pos_embed(model.patch_embed(x)).flatten(1, 2), GRID)[
            0, 2 * GRID[1] + 3
        ],
        x,
    )
    exact = jacobian.square().sum((0, 1, 2)).unflatten(0, (-1, 8)).unflatten(-1, (-1, 8))
    exact = exact.sum((1, 3)).numpy()
    assert np.allclose(field.energy, exact / exact.sum(), rtol=0.4, atol=1e-4)


def test_checkpointed_layers_are_seen() -> None:
    plain = receptive_fields(build(), images(1), [1])[0].energy
    assert np.array_equal(plain, receptive_fields(build(with_cp=True), images(1), [1])[0].energy)


def test_layers_that_are_not_run_and_no_images() -> None:
    with pytest.raises(ValueError, match='the backbone runs layers 1 to 2'):
        receptive_fields(build(out_indices=(0,)), images(1), [2])
    with pytest.raises(ValueError, match='no image'):
        receptive_fields(build(), [], [0])


def test_names_and_defaults() -> None:
    assert [layer_name(x) for x in (0, 1, 6, 23)] == ['layer 1', 'block 1', 'layer 7', 'block 12']
    assert default_layers(VisionLSTM('tiny')) == [0, 1, 3, 7, 11, 15, 23]
    assert default_layers(build(arch={'embed_dims': 16, 'num_layers': 1})) == [0]


def test_figure_has_a_map_a_layer() -> None:
    fields = receptive_fields(build(), images(1), [0, 1, 3])
    figure = draw_fields(fields, 'a title')
    titles = [ax.get_title() for ax in figure.axes]
    assert [x.split('\n')[0] for x in titles[:3]] == [
        'after layer 1',
        'after block 1',
        'after block 2',
    ]
    before = 100 * fields[0].shares[0]
    assert f'{before:.1f} % before' in titles[0]
