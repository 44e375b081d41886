"""Roofline bounds of the cell, a ViL layer and a ViT block: the least seconds on a device."""

from __future__ import annotations

from vil_mm.mlstm.roofline import DEFAULT_CHUNK, Device, Pass, cell_passes, roofline_bound


def cell_bound(
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
        passes = cell_passes(length, num_heads, head_dim, **size)
        if backward:
            passes = passes + cell_passes(length, num_heads, head_dim, **size, backward=True)
        return roofline_bound(passes, tokens, device)

    return min(seconds(None), seconds(DEFAULT_CHUNK))


# vil_rest and vit_rest assign work to kernels, which decides whether each waits for products or for
# memory. FLOPs follow from the weights. Bytes forward add up to 50 d per token for a ViL layer and
# 44 d for a ViT block (bfloat16): each kernel reads and writes the tensors that it needs once.
# Backward the assignment is a plausible estimate. None of it was measured.


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


def vil_layer_bound(
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
    cell = cell_bound(length, 4, dim // 2, tokens, device, **options)
    return cell + roofline_bound(passes, tokens, device)


def vit_block_bound(
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
    return roofline_bound(passes, tokens, device)
