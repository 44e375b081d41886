from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vil_mm.mlstm import mlstm
from vil_mm.mlstm.cost import Choice, choose_backend, choose_chunk_size, flops


@pytest.mark.parametrize(
    'choice',
    [Choice('parallel'), Choice('chunkwise', 64), Choice('chunkwise', 48)],
    ids=lambda choice: f'{choice.backend}-{choice.chunk_size}',
)
def test_counts_are_what_torch_counts(choice: Choice) -> None:
    q, k, v = torch.zeros(3, 1, 200, 4, 24)
    gates = torch.zeros(2, 1, 200, 4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        mlstm(q, k, v, *gates, backend=choice.backend, chunk_size=choice.chunk_size)
    # the sum of W over s, 2 S L FLOPs a head, is a column of the chunkwise product
    assert counter.get_total_flops() == flops(choice, 200, 4, 24)


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match='fused'):
        flops(Choice('fused'), 10, 4, 8)


@pytest.mark.parametrize('head_dim', [96, 192, 384, 512])
def test_choice(head_dim: int) -> None:
    assert choose_backend(1, 4, head_dim).backend == 'parallel'
    assert choose_backend(144, 4, head_dim).backend == 'parallel'
    assert choose_backend(196, 4, head_dim).backend == 'parallel'
    assert choose_backend(4096, 4, head_dim).backend == 'chunkwise'
    assert 1 <= choose_chunk_size(50, 4, head_dim) <= 50


def test_cost_per_token_hardly_grows() -> None:
    """From 512 to 8192 pixels a side: the chunk length grows, the C x C product stays small."""

    def per_token(length: int) -> float:
        choice = Choice('chunkwise', choose_chunk_size(length, 4, 96))
        return flops(choice, length, 4, 96) / length

    assert per_token(512**2) < 4 * per_token(1024)
    assert flops(Choice('parallel'), 512**2, 4, 96) / 512**2 > 100 * per_token(512**2)
