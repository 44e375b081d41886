"""What each form of the mLSTM costs, and the choice between them.

All counts are for one image, forward, over all heads; a multiply-add is two FLOPs. They count what
the PyTorch forms execute: both triangles of the S x S products, the padding of the last chunk, and
the column of ones that carries the normaliser.
"""

from __future__ import annotations

import math
from typing import NamedTuple

CHUNK_SIZES = (32, 64, 128, 256, 512, 1024)

# What is not a matrix product, in FLOPs of a product that takes as long on one CPU core, float32.
# One exponential weight: add, bound, exp, mask, multiply.
FLOPS_PER_WEIGHT = 200
# One entry of a chunk's state: written and read again.
FLOPS_PER_STATE_ENTRY = 150
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


class Device(NamedTuple):
    """What a device does at best: FLOPs of matrix products and bytes of memory, per second."""

    flops: float
    bandwidth: float


# An NVIDIA H200, measured: a large bfloat16 product and a copy in its memory.
H200 = Device(flops=790e12, bandwidth=4.3e12)

FUSED_CHUNK = 256  # tokens a chunk for which the floors of the fused chunkwise form are stated


class Pass(NamedTuple):
    """What one pass over the tokens has to compute and to move: FLOPs and bytes a token."""

    flops: float
    bytes: float


def floor(passes: list[Pass], tokens: int, device: Device) -> float:
    """Least seconds: each pass is held up by its products or by its memory, one after the other."""
    return tokens * sum(max(p.flops / device.flops, p.bytes / device.bandwidth) for p in passes)


def fused_cell(
    length: int,
    num_heads: int,
    head_dim: int,
    chunk_size: int | None = FUSED_CHUNK,
    *,
    backward: bool = False,
    element: int = 2,
    state: int = 4,
) -> list[Pass]:
    """The fused cell: tiles of 64 on and below the diagonal, every tensor moved once a kernel.

    Args:
        length, num_heads, head_dim: S, NH and DH.
        chunk_size: L; ``None`` for one chunk that covers the sequence, without states.
        backward: The backward pass alone, which recomputes the states, instead of the forward.
        element, state: Bytes of an entry of q, k, v, h and of a state.
    """
    inner = num_heads * head_dim
    span = length if chunk_size is None else chunk_size
    tiles = (1 + min(1, 64 / span)) / 2  # the share of a square of weights that is computed
    inside, between = span * tiles, 0 if chunk_size is None else head_dim
    flops = inner * (10 * inside + 10 * between if backward else 4 * inside + 4 * between)
    if chunk_size is None:  # q, k, v, h; and back again also dh, dq, dk, dv without h
        moved = inner * element * (7 if backward else 4)
    elif backward:
        moved = inner * (12 * element + 4 * head_dim * state / chunk_size)
    else:
        moved = inner * (6 * element + 2 * head_dim * state / chunk_size)
    return [Pass(flops, moved)]


def choose_fused_chunk(length: int, num_heads: int, head_dim: int, element: int = 2) -> int:
    """Tokens a chunk of the fused forward kernels: the lowest floor on an H200.

    One chunk without states where the sequence fits 1024 tokens, or 128 or 256 with states, which
    are kept in the dtype of ``element`` bytes. The backward kernels have one length, their tile.
    """
    best, least = 0, math.inf
    one = max(64, 1 << (length - 1).bit_length())
    for chunk in (one, 256, 128):
        if chunk > 1024:
            continue
        span = None if chunk >= length else chunk
        passes = fused_cell(length, num_heads, head_dim, span, element=element, state=element)
        seconds = floor(passes, length, H200)
        if seconds < least:
            best, least = chunk, seconds
    return best


def cell_floor(
    length: int,
    num_heads: int,
    head_dim: int,
    tokens: int,
    device: Device,
    *,
    backward: bool = False,
    element: int = 2,
) -> float:
    """Least seconds of the cell, forward or (``backward``) both ways: one chunk or many."""

    def seconds(chunk_size: int | None) -> float:
        size = {'chunk_size': chunk_size, 'element': element}
        passes = fused_cell(length, num_heads, head_dim, **size)
        if backward:
            passes = passes + fused_cell(length, num_heads, head_dim, **size, backward=True)
        return floor(passes, tokens, device)

    return min(seconds(None), seconds(FUSED_CHUNK))


# vil_rest and vit_rest share work out among kernels, which decides whether each waits for products
# or for memory. FLOPs follow from the weights. Bytes forward add up to 50 d a token for a ViL layer
# and 44 d for a ViT block (bfloat16), every tensor read and written once by each kernel that needs
# it. Backward the split was fitted: among plausible ones it is the one that gives the floors of
# training stated in tests/mlstm/test_cost.py. None of it is a measurement.


def vil_rest(dim: int, *, backward: bool = False, element: int = 2) -> list[Pass]:
    """A ViL layer of width d without its cell, fully fused: proj_up, proj_down, all else."""
    if backward:
        passes = [(16 * dim**2, 10), (8 * dim**2, 6), (0, 30)]
    else:
        passes = [(8 * dim**2, 5), (4 * dim**2, 4), (0, 16)]
    return [Pass(flops, moved * dim * element) for flops, moved in passes]


def attention(length: int, dim: int, *, backward: bool = False, element: int = 2) -> list[Pass]:
    """Flash attention over all pairs of tokens; it recomputes its weights in the backward pass."""
    if backward:
        return [Pass(10 * length * dim, 8 * dim * element)]
    return [Pass(4 * length * dim, 4 * dim * element)]


def vit_rest(dim: int, *, backward: bool = False, element: int = 2) -> list[Pass]:
    """A ViT block without its attention, fused: q/k/v, out, the two of the MLP, both norms."""
    if backward:
        passes = [(12 * dim**2, 8), (4 * dim**2, 4), (16 * dim**2, 10), (16 * dim**2, 11), (0, 8)]
    else:
        passes = [(6 * dim**2, 4), (2 * dim**2, 3), (8 * dim**2, 5), (8 * dim**2, 6), (0, 4)]
    return [Pass(flops, moved * dim * element) for flops, moved in passes]


def vil_layer_floor(
    length: int,
    dim: int,
    tokens: int,
    device: Device,
    *,
    backward: bool = False,
    element: int = 2,
) -> float:
    """Least seconds of a ViL layer (4 heads of d/2), forward or (``backward``) both ways."""
    options = {'backward': backward, 'element': element}
    passes = vil_rest(dim, element=element)
    if backward:
        passes = passes + vil_rest(dim, **options)
    cell = cell_floor(length, 4, dim // 2, tokens, device, **options)
    return cell + floor(passes, tokens, device)


def vit_block_floor(
    length: int,
    dim: int,
    tokens: int,
    device: Device,
    *,
    backward: bool = False,
    element: int = 2,
) -> float:
    """Least seconds of a ViT block, forward or (``backward``) both ways."""
    passes = attention(length, dim, element=element) + vit_rest(dim, element=element)
    if backward:
        options = {'backward': True, 'element': element}
        passes = passes + attention(length, dim, **options) + vit_rest(dim, **options)
    return floor(passes, tokens, device)


def _cheapest(forms: list[Form], length: int, num_heads: int, head_dim: int) -> Form:
    best = forms[0]
    for form in forms[1:]:  # a loop, for torch.compile cannot trace min(..., key=...)
        if work(form, length, num_heads, head_dim) < work(best, length, num_heads, head_dim):
            best = form
    return best
