"""Expected shapes of the weights of a ViL, from its description."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vil_mm.checkpoints.description import Description
from vil_mm.checkpoints.layouts import (
    CLASS_TOKEN,
    HEAD,
    PATCH,
    POOL_NORM,
    POSITION,
    POST_NORM,
)
from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.layers.scan import NUM_HEADS

BLOCK = 4  # channels that q, k and v mix
Shape = tuple[int, ...]


def check_shapes(state: Mapping[str, Tensor], description: Description, source: str) -> None:
    """Compare the shape of every tensor with the described model.

    Raises:
        CheckpointError: A shape differs (the message names the first), or a tensor is not a plain
            floating-point one.
    """
    numbers = [x for x in state.values() if x.layout == torch.strided and x.is_floating_point()]
    if len(numbers) < len(state):
        raise CheckpointError(
            f'{source} is not a ViL: weights are not plain floating-point tensors'
        )
    if reason := _impossible_reason(description):
        raise CheckpointError(f'{source} holds a ViL that cannot be built: {reason}')
    expected = list_shapes(description)
    wrong = [key for key in state if key in expected and state[key].shape != expected[key]]
    if wrong:
        key, more = wrong[0], f' (and {len(wrong) - 1} more differ)' if wrong[1:] else ''
        raise CheckpointError(
            f'{source} is damaged or not a ViL: {key} has the shape {tuple(state[key].shape)}, but '
            f'{description} needs {expected[key]}{more}'
        )


def _impossible_reason(description: Description) -> str | None:
    """Why a ``VisionLSTM`` cannot have these sizes, or None if it can."""
    d = description
    if d.embed_dims % BLOCK:
        return f'{d.embed_dims} channels are not divisible by {BLOCK}'
    if d.class_token and (d.version != 1 or d.num_scans > 2):
        return 'a class token needs version 1 and scans by rows'
    return None


def list_shapes(description: Description) -> dict[str, Shape]:
    """Shapes of all weights of a classifier with this ViL, under our names."""
    d = description
    dim, width = d.embed_dims, d.pooled_width or d.embed_dims
    shapes = {
        f'{PATCH}.weight': (dim, d.in_channels, d.patch_size, d.patch_size),
        f'{PATCH}.bias': (dim,),
        POSITION: (1, *d.grid, dim),
        f'backbone.{CLASS_TOKEN}': (1, 1, dim),
        f'{HEAD}.weight': (d.num_classes or 1, width),
        f'{HEAD}.bias': (d.num_classes or 1,),
    }
    for norm, channels in ((POST_NORM, dim), (POOL_NORM, width)):
        shapes |= {f'{norm}.{leaf}': (channels,) for leaf in ('weight', 'bias')}
    for index in range(d.num_layers):
        layer = f'backbone.blocks.{index // 2}.layers.{index % 2}'
        shapes |= {f'{layer}.{name}': shape for name, shape in _layer_shapes(d).items()}
    return shapes


def _layer_shapes(description: Description) -> dict[str, Shape]:
    dim, inner = description.embed_dims, 2 * description.embed_dims
    shapes = {
        'norm.weight': (dim,),
        'norm.bias': (dim,),
        'proj_up.weight': (2 * inner, dim),
        'proj_up.bias': (2 * inner,),
        'proj_down.weight': (dim, inner),
        'proj_down.bias': (dim,),
    }
    scan: dict[str, Shape] = {'skip': (inner,)}
    scan['conv.weight'] = (inner, 1, 4) if description.version == 1 else (inner, 1, 3, 3)
    for name in ('q_proj', 'k_proj', 'v_proj'):
        scan[f'{name}.weight'] = (inner // BLOCK, BLOCK, BLOCK)
    for gate in ('igate', 'fgate'):
        scan |= {f'{gate}.weight': (NUM_HEADS, 3 * inner), f'{gate}.bias': (NUM_HEADS,)}
    scan['head_norm.weight'] = (inner,)
    for name in ('conv', 'q_proj', 'k_proj', 'v_proj', 'head_norm'):
        scan[f'{name}.bias'] = (inner,)
    scans = range(description.num_scans)
    return shapes | {f'scans.{i}.{name}': shape for i in scans for name, shape in scan.items()}
