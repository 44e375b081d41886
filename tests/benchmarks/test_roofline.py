"""Roofline bounds, against the sums that they stand for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vil_mm.mlstm.roofline import H200, Device, cell_passes, choose_triton_chunk, roofline_bound

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'benchmarks'))
from roofline import attention, cell_bound, vil_layer_bound, vit_block_bound

# (width d, S): microseconds for 65,536 tokens on an H200, bfloat16, worked out by hand: the cell
# forward in chunks of 64, 128 and 256, and flash attention.
BY_HAND = {
    (192, 1024): (140, 105, 88, 65),
    (192, 4096): (140, 105, 88, 261),
    (384, 4096): (421, 281, 211, 522),
    (768, 1024): (1405, 843, 562, 261),
    (768, 16384): (1405, 843, 562, 4175),
}


@pytest.mark.parametrize(('dim', 'length'), BY_HAND)
def test_cell_and_attention(dim: int, length: int) -> None:
    cell = (length, 4, dim // 2)
    seconds = [roofline_bound(cell_passes(*cell, size), 65536, H200) for size in (64, 128, 256)]
    seconds.append(roofline_bound(attention(length, dim), 65536, H200))
    assert [1e6 * s for s in seconds] == pytest.approx(BY_HAND[dim, length], abs=0.6)


def test_the_slower_of_products_and_memory_counts() -> None:
    passes = cell_passes(4096, 4, 96, 64)
    by_products, by_memory = Device(1.0, 1e30), Device(1e30, 1.0)
    assert roofline_bound(passes, 2, by_products) == 2 * passes[0].flops
    assert roofline_bound(passes, 2, by_memory) == 2 * passes[0].bytes
    assert cell_passes(4096, 4, 96, 64, state=2)[0].bytes < passes[0].bytes


def test_short_sequences_take_one_chunk_without_states() -> None:
    one = roofline_bound(cell_passes(1024, 4, 96, None), 65536, H200)
    assert cell_bound(1024, 4, 96, 65536, H200) == one
    assert cell_bound(16384, 4, 96, 65536, H200) < one * 16384 / 1024
    assert choose_triton_chunk(1000, 4, 96) == 1024 and choose_triton_chunk(4096, 4, 96) < 1024


@pytest.mark.parametrize('backward', [False, True])
def test_a_layer_is_linear_in_the_tokens_and_a_block_of_attention_is_not(backward: bool) -> None:
    def ratio(bound) -> float:
        short, long = (bound(s, 192, s, H200, backward=backward) for s in (4096, 65536))
        return long / short

    assert ratio(vil_layer_bound) == pytest.approx(16)
    assert ratio(vit_block_bound) > 100
