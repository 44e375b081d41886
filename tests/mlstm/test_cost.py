from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vil_mm.mlstm import mlstm
from vil_mm.mlstm.cost import Form, choose_chunk_size, choose_form, flops


@pytest.mark.parametrize(
    'form',
    [Form('parallel'), Form('chunkwise', 64), Form('chunkwise', 48)],
    ids=lambda form: f'{form.backend}-{form.chunk_size}',
)
def test_counts_are_what_torch_counts(form: Form) -> None:
    q, k, v = torch.zeros(3, 1, 200, 4, 24)
    gates = torch.zeros(2, 1, 200, 4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        mlstm(q, k, v, *gates, backend=form.backend, chunk_size=form.chunk_size)
    # the sum of W over s, 2 S L FLOPs a head, is a column of the chunkwise form's product
    assert counter.get_total_flops() == flops(form, 200, 4, 24)


def test_unknown_form() -> None:
    with pytest.raises(ValueError, match='fused'):
        flops(Form('fused'), 10, 4, 8)


@pytest.mark.parametrize('head_dim', [96, 192, 384, 512])
def test_choice(head_dim: int) -> None:
    assert choose_form(1, 4, head_dim).backend == 'parallel'
    assert choose_form(144, 4, head_dim).backend == 'parallel'
    assert choose_form(196, 4, head_dim).backend == 'parallel'
    assert choose_form(4096, 4, head_dim).backend == 'chunkwise'
    assert 1 <= choose_chunk_size(50, 4, head_dim) <= 50


def test_cost_per_token_hardly_grows() -> None:
    """From 512 to 8192 pixels a side: the chunk length grows, the C x C product stays small."""

    def per_token(length: int) -> float:
        form = Form('chunkwise', choose_chunk_size(length, 4, 96))
        return flops(form, length, 4, 96) / length

    assert per_token(512**2) < 4 * per_token(1024)
    assert flops(Form('parallel'), 512**2, 4, 96) / 512**2 > 100 * per_token(512**2)
