from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vil_mm.mlstm import mlstm
from vil_mm.mlstm.cost import (
    H200,
    Device,
    Form,
    attention,
    cell_floor,
    choose_chunk_size,
    choose_form,
    floor,
    flops,
    fused_cell,
    vil_layer_floor,
    vit_block_floor,
)


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


# Floors on an H200 in microseconds for 65,536 tokens, stated before this code was written. Those of
# the cell and of attention follow from their counts. Those of whole layers and blocks only guard
# against change: how their bytes are split in vil_rest and vit_rest was chosen to give them.
# (width, S): forward of the cell with chunks of 64, 128, 256, of a ViL layer, of flash attention,
# of a ViT block; both ways of the cell, a ViL layer, a ViT block
FLOORS = {
    (192, 1024): (140, 105, 88, 216, 65, 194, 243, 658, 597),
    (192, 4096): (140, 105, 88, 234, 261, 390, 263, 679, 1282),
    (192, 16384): (140, 105, 88, 234, 1044, 1173, 263, 679, 4022),
    (384, 1024): (421, 281, 211, 473, 130, 482, 485, 1464, 1489),
    (384, 4096): (421, 281, 211, 545, 522, 873, 632, 1611, 2859),
    (384, 16384): (421, 281, 211, 545, 2088, 2439, 632, 1611, 8339),
    (768, 1024): (1405, 843, 562, 1239, 261, 1529, 970, 3809, 4717),
    (768, 4096): (1405, 843, 562, 1524, 1044, 2312, 1686, 4524, 7457),
    (768, 16384): (1405, 843, 562, 1524, 4175, 5443, 1686, 4524, 18418),
}


@pytest.mark.parametrize(('dim', 'length'), FLOORS)
def test_floors(dim: int, length: int) -> None:
    tokens, cell = 65536, (length, 4, dim // 2)
    block = (length, dim, tokens, H200)
    seconds = [
        *(floor(fused_cell(*cell, size), tokens, H200) for size in (64, 128, 256)),
        vil_layer_floor(*block),
        floor(attention(length, dim), tokens, H200),
        vit_block_floor(*block),
        cell_floor(*cell, tokens, H200, backward=True),
        vil_layer_floor(*block, backward=True),
        vit_block_floor(*block, backward=True),
    ]
    assert [1e6 * s for s in seconds] == pytest.approx(FLOORS[dim, length], abs=0.6)


@pytest.mark.parametrize(('dim', 'microseconds'), [(192, 69), (384, 139), (768, 277)])
def test_floor_of_one_chunk(dim: int, microseconds: int) -> None:
    one = floor(fused_cell(1024, 4, dim // 2, None), 65536, H200)
    assert 1e6 * one == pytest.approx(microseconds, abs=0.6)
    assert cell_floor(1024, 4, dim // 2, 65536, H200) == one
    assert cell_floor(16384, 4, dim // 2, 65536, H200) < one * 16384 / 1024


def test_floor_takes_the_slower_of_products_and_memory() -> None:
    passes = fused_cell(4096, 4, 96, 64)
    by_products, by_memory = Device(1.0, 1e30), Device(1e30, 1.0)
    assert floor(passes, 2, by_products) == 2 * passes[0].flops
    assert floor(passes, 2, by_memory) == 2 * passes[0].bytes
    assert fused_cell(4096, 4, 96, 64, state=2)[0].bytes < passes[0].bytes
