"""What each form of the mLSTM costs, and the choice between them.

All counts are for one image, forward, over all heads; a multiply-add is two FLOPs. They count what
the PyTorch forms execute: both triangles of the S x S products, the padding of the last chunk, and
the column of ones that carries the normaliser.
"""

from __future__ import annotations

from typing import NamedTuple

CHUNK_SIZES = (32, 64, 128, 256, 512, 1024)

# What is not a matrix product, in FLOPs of a product that takes as long on one CPU core, float32.
# One exponential weight: add, bound, exp, mask, multiply.
FLOPS_PER_WEIGHT = 400
# One entry of a chunk's state: written and read again.
FLOPS_PER_STATE_ENTRY = 100
# The extra calls of the chunkwise form, whatever the size.
FLOPS_PER_CHUNKING = 100e6


class Form(NamedTuple):
    """A form of the operator and, where it has one, its chunk length in tokens."""

    backend: str
    chunk_size: int | None = None


def flops(form: Form, length: int, num_heads: int, head_dim: int) -> int:
    """Matrix-product FLOPs of the mLSTM cell, forward.

    Args:
        form: ``Form('parallel')``, ``Form('recurrent')`` or ``Form('chunkwise', chunk_size)``.
        length: Tokens S.
        num_heads: Heads NH.
        head_dim: Channels of a head, DH.

    Raises:
        ValueError: The form is not known.
    """
    if form.backend == 'parallel':
        per_head = 4 * length**2 * head_dim
    elif form.backend == 'recurrent':
        per_head = length * head_dim * (5 * head_dim + 5)
    elif form.backend == 'chunkwise':
        chunks = -(-length // form.chunk_size)
        padded = chunks * form.chunk_size
        state = head_dim * (head_dim + 1)
        per_head = padded * form.chunk_size * (4 * head_dim + 2)  # inside the chunks
        per_head += padded * 4 * state + chunks**2 * 2 * state  # to, from and between states
    else:
        raise ValueError(f'no FLOP count for the mLSTM form {form.backend!r}')
    return num_heads * per_head


def work(form: Form, length: int, num_heads: int, head_dim: int) -> float:
    """FLOPs plus everything else the form does, in FLOPs of equal time: for comparing forms."""
    if form.backend == 'parallel':
        weights, state_entries, chunking = length**2, 0, 0
    else:
        chunks = -(-length // form.chunk_size)
        weights = chunks * form.chunk_size**2
        state_entries = chunks * head_dim * (head_dim + 1)
        chunking = FLOPS_PER_CHUNKING
    extra = num_heads * (FLOPS_PER_WEIGHT * weights + FLOPS_PER_STATE_ENTRY * state_entries)
    return flops(form, length, num_heads, head_dim) + extra + chunking


def choose_chunk_size(length: int, num_heads: int, head_dim: int) -> int:
    """The chunk length with the least work."""
    forms = [Form('chunkwise', min(size, length)) for size in CHUNK_SIZES]
    return _cheapest(forms, length, num_heads, head_dim).chunk_size


def choose_form(length: int, num_heads: int, head_dim: int) -> Form:
    """The form that 'auto' runs: parallel for short sequences, chunkwise beyond."""
    chunkwise = Form('chunkwise', choose_chunk_size(length, num_heads, head_dim))
    return _cheapest([Form('parallel'), chunkwise], length, num_heads, head_dim)


def _cheapest(forms: list[Form], length: int, num_heads: int, head_dim: int) -> Form:
    best = forms[0]
    for form in forms[1:]:  # a loop, for torch.compile cannot trace min(..., key=...)
        if work(form, length, num_heads, head_dim) < work(best, length, num_heads, head_dim):
            best = form
    return best


class FusedChunks(NamedTuple):
    """Chunk lengths in tokens of the fused kernels' two passes."""

    forward: int
    backward: int


def choose_fused_chunks(length: int, head_dim: int) -> FusedChunks:
    return FusedChunks(64 if length <= 64 else 128, 128)
