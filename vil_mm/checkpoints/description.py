"""Describe the model of a state dict, from names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vil_mm.checkpoints.architectures import ARCHS, find_arch
from vil_mm.checkpoints.layouts import (
    CLASS_TOKEN,
    HEAD,
    OWN_LAYER,
    OWN_SCAN,
    PATCH,
    POOL_NORM,
    POSITION,
    read_naming,
)
from vil_mm.checkpoints.official import as_classifier, from_official, is_official

_AFTER_POOLING = (f'{POOL_NORM}.weight', f'{HEAD}.weight')


@dataclass(frozen=True)
class Description:
    """A ViL as shown by its weights; they do not reveal stride and traversal.

    Attributes:
        version: Generation of the architecture.
        layout: The authors' 'raw' or 'inference', ``None`` for our own names.
        embed_dims: Channels D of a token.
        num_layers: Number of directed layers.
        num_scans: Sets of weights in a layer: 1, or 2 for 'bidirectional', 4 for 'quad'.
        in_channels: Channels of the image.
        patch_size: Side of a patch in pixels.
        grid: Rows and columns of the position embedding.
        class_token: Whether a class token is inserted in the middle of the sequence.
        pooled_width: Channels after pooling, if a norm or head shows them.
        num_classes: Classes of the head, if there is one.
        num_parameters: Number of elements in all tensors of backbone and head.
    """

    version: int
    layout: str | None
    embed_dims: int
    num_layers: int
    num_scans: int
    in_channels: int
    patch_size: int
    grid: tuple[int, int]
    class_token: bool
    pooled_width: int | None
    num_classes: int | None
    num_parameters: int

    @property
    def name(self) -> str:
        """The paper's name, e.g. 'ViL-T'; 'ViL' for other sizes."""
        arch = find_arch(self.embed_dims, self.num_layers)
        return ARCHS[arch].title if arch else 'ViL'

    @property
    def architecture(self) -> tuple:
        """The properties that must be equal for one model's layers to fit another."""
        patch = self.in_channels, self.patch_size
        return self.version, self.embed_dims, self.num_layers, self.num_scans, *patch

    def __str__(self) -> str:
        scans = f' of {self.num_scans} scans' if self.num_scans > 1 else ''
        image = f', images of {self.in_channels} channels' if self.in_channels != 3 else ''
        rows, columns = self.grid
        return (
            f'{self.name} version {self.version} ({self.embed_dims} channels, {self.num_layers} '
            f'layers{scans}, patches of {self.patch_size}, grid {rows}x{columns}{image})'
        )


def describe(state_dict: Mapping[str, Tensor]) -> Description:
    """Describe official weights, or ours of a model or a backbone alone.

    This reads names and the shapes that define sizes; it does not check that other shapes match.
    Other parts of a model (neck, decode head) are ignored.

    Raises:
        ValueError: The weights are not those of a ViL, or some are missing.
    """
    layout = None
    if is_official(state_dict.get('state_dict', state_dict)):
        state_dict = state_dict.get('state_dict', state_dict)
        layout = read_naming(state_dict).layout.name
        state_dict = from_official(state_dict)
    return _describe(as_classifier(state_dict), layout)


def _describe(state_dict: Mapping[str, Tensor], layout: str | None) -> Description:
    layers = {found.groups() for found in map(OWN_LAYER.match, state_dict) if found}
    scans = {found['scan'] for found in map(OWN_SCAN.match, state_dict) if found}
    dim, in_channels, patch_size, _ = _shape(state_dict, f'{PATCH}.weight', 4)
    _, rows, columns, _ = _shape(state_dict, POSITION, 4)
    conv = 'backbone.blocks.0.layers.0.scans.0.conv.weight'
    pooled = [_shape(state_dict, key, 1, 2)[-1] for key in _AFTER_POOLING if key in state_dict]
    head = f'{HEAD}.weight'
    return Description(
        version=1 if len(_shape(state_dict, conv, 3, 4)) == 3 else 2,
        layout=layout,
        embed_dims=dim,
        num_layers=len(layers),
        num_scans=len(scans),
        in_channels=in_channels,
        patch_size=patch_size,
        grid=(rows, columns),
        class_token=f'backbone.{CLASS_TOKEN}' in state_dict,
        pooled_width=pooled[0] if pooled else None,
        num_classes=_shape(state_dict, head, 2)[0] if head in state_dict else None,
        num_parameters=sum(
            value.numel()
            for key, value in state_dict.items()
            if key.startswith(('backbone.', f'{HEAD}.')) and isinstance(value, Tensor)
        ),
    )


def _shape(state_dict: Mapping[str, Tensor], key: str, *num_axes: int) -> tuple[int, ...]:
    if key not in state_dict:
        raise ValueError(f'not the weights of a ViL: {key} is missing')
    shape = tuple(getattr(state_dict[key], 'shape', ()))
    if len(shape) not in num_axes or 0 in shape:
        raise ValueError(f'not the weights of a ViL: {key} has the shape {shape}')
    return shape
