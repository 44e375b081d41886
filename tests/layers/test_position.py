from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from safetensors.torch import load_file
from torch import nn

from vil_mm.layers import PositionEmbedding, resize_embedding


@pytest.fixture
def stored(golden) -> dict[str, torch.Tensor]:
    return load_file(golden / 'f_pos_embed_interpolation.safetensors')


@pytest.mark.parametrize(
    ('source', 'target'),
    [
        ('14x14', '12x12'),
        ('14x14', '24x40'),
        ('14x14', '27x27'),
        ('14x14', '28x28'),
        ('14x14', '32x32'),
        ('14x14', '7x9'),
        ('24x40', '14x14'),
        ('32x32', '14x14'),
    ],
)
def test_golden_resizes(stored, source: str, target: str) -> None:
    embed = stored['embed_14x14'] if source == '14x14' else stored[f'out.14x14_to_{source}']
    grid = tuple(int(side) for side in target.split('x'))
    expected = stored[f'out.{source}_to_{target}']
    error = (resize_embedding(embed, grid) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


def test_another_grid_is_resized_and_differentiable() -> None:
    position = PositionEmbedding((4, 5), 8)
    x = torch.zeros(2, 8, 3, 8)
    out = position(x)
    torch.testing.assert_close(out[1:], resize_embedding(position.embed, (8, 3)))
    out.sum().backward()
    assert position.embed.grad.abs().max() > 0


def double_through_data(embed: nn.Parameter) -> None:
    embed.data.mul_(2)


def replace_data(embed: nn.Parameter) -> None:
    embed.data = 2 * embed.data


def write_in_place(embed: nn.Parameter) -> None:
    embed.mul_(2)


@pytest.mark.parametrize('change', [double_through_data, replace_data, write_in_place])
def test_a_changed_parameter_is_seen_at_once(change: Callable[[nn.Parameter], None]) -> None:
    position = PositionEmbedding((4, 5), 8).eval()
    with torch.no_grad():
        first = position.at((8, 10)).clone()
        change(position.embed)
        torch.testing.assert_close(position.at((8, 10)), 2 * first)


def test_moving_average_in_evaluation_is_not_stale() -> None:
    position, x = PositionEmbedding((4, 5), 8), torch.zeros(1, 8, 10, 8)
    average = ExponentialMovingAverage(position, momentum=0.5).eval()
    with torch.no_grad():
        average(x)
        position.embed.add_(1)
        average.update_parameters(position)  # writes through .data
        average.update_parameters(position)
        expected = resize_embedding(average.module.embed, (8, 10))
        torch.testing.assert_close(average(x), expected)


def test_a_forward_pass_changes_nothing_of_the_module() -> None:
    position = PositionEmbedding((4, 5), 8).eval()
    before = dict(vars(position))
    with torch.no_grad():
        position(torch.zeros(1, 8, 10, 8))
    assert vars(position) == before
    assert list(position.state_dict()) == ['embed']


def test_state_of_another_grid_is_resized_at_load_and_left_alone() -> None:
    position = PositionEmbedding((4, 5), 8)
    state = {'embed': torch.randn(1, 7, 9, 8)}
    kept = state['embed'].clone()
    position.load_state_dict(state)
    torch.testing.assert_close(position.embed.data, resize_embedding(kept, (4, 5)))
    torch.testing.assert_close(state['embed'], kept)


def test_state_of_another_width_is_refused() -> None:
    with pytest.raises(RuntimeError, match='size mismatch'):
        PositionEmbedding((4, 5), 8).load_state_dict({'embed': torch.randn(1, 7, 9, 16)})


def test_initialisation() -> None:
    torch.manual_seed(0)
    assert PositionEmbedding((14, 14), 192).embed.std().item() == pytest.approx(0.02, rel=0.02)
