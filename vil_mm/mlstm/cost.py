"""FLOPs of the mLSTM's PyTorch backends, and the choice between them.

All counts are for one image, forward, over all heads; a multiply-add is two FLOPs. They count what
is executed: both triangles of the S x S products, the padding of the last chunk, and the products
of the chunkwise normaliser.
"""

from __future__ import annotations

from typing import NamedTuple

CHUNK_SIZES = (32, 64, 128, 256, 512, 1024)

# The cost of everything else, as the FLOPs of a matrix product that takes as long (one CPU core,
# float32). One exponential weight: add, bound, exp, mask, multiply.
FLOPS_PER_WEIGHT = 200
# One entry of a chunk's state: written and read again.
FLOPS_PER_STATE_ENTRY = 150
# The extra calls of the chunkwise backend, at any size.
FLOPS_PER_CHUNKING = 100e6


class Choice(NamedTuple):
    """A backend and, for 'chunkwise', its chunk length in tokens."""

    backend: str
    chunk_size: int | None = None


def flops(choice: Choice, length: int, num_heads: int, head_dim: int) -> int:
    """Matrix-product FLOPs of the mLSTM cell, forward.

    Args:
        choice: ``Choice('parallel')``, ``Choice('recurrent')`` or ``Choice('chunkwise', size)``.
        length: Tokens S.
        num_heads: Heads NH.
        head_dim: Channels of a head, DH.

    Raises:
        ValueError: The backend is not known.
    """
    if choice.backend == 'parallel':
        per_head = 4 * length**2 * head_dim
    elif choice.backend == 'recurrent':
        per_head = length * head_dim * (5 * head_dim + 5)
    elif choice.backend == 'chunkwise':
        chunks = -(-length // choice.chunk_size)
        padded = chunks * choice.chunk_size
        state, normalizer = head_dim**2, head_dim
        per_head = padded * choice.chunk_size * 4 * head_dim  # inside the chunks
        per_head += padded * (4 * state + 2 * normalizer)  # to and from the states
        per_head += chunks**2 * 2 * (state + normalizer)  # between them
    else:
        raise ValueError(f'no FLOP count for mlstm backend {choice.backend!r}')
    return num_heads * per_head


def work(choice: Choice, length: int, num_heads: int, head_dim: int) -> float:
    """FLOPs plus the cost of everything else, to compare backends."""
    if choice.backend == 'parallel':
        weights, state_entries, chunking = length**2, 0, 0
    else:
        chunks = -(-length // choice.chunk_size)
        weights = chunks * choice.chunk_size**2
        state_entries = chunks * head_dim * (head_dim + 1)
        chunking = FLOPS_PER_CHUNKING
    extra = num_heads * (FLOPS_PER_WEIGHT * weights + FLOPS_PER_STATE_ENTRY * state_entries)
    return flops(choice, length, num_heads, head_dim) + extra + chunking


def choose_chunk_size(length: int, num_heads: int, head_dim: int) -> int:
    """The chunk length with the least work."""
    choices = [Choice('chunkwise', min(size, length)) for size in CHUNK_SIZES]
    return _cheapest(choices, length, num_heads, head_dim).chunk_size


def choose_backend(length: int, num_heads: int, head_dim: int) -> Choice:
    """What 'auto' runs: parallel for short sequences, chunkwise for longer ones."""
    chunkwise = Choice('chunkwise', choose_chunk_size(length, num_heads, head_dim))
    return _cheapest([Choice('parallel'), chunkwise], length, num_heads, head_dim)


def _cheapest(choices: list[Choice], length: int, num_heads: int, head_dim: int) -> Choice:
    best = choices[0]
    for choice in choices[1:]:  # a loop, for torch.compile cannot trace min(..., key=...)
        if work(choice, length, num_heads, head_dim) < work(best, length, num_heads, head_dim):
            best = choice
    return best
