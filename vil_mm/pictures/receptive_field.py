"""Effective receptive fields: which parts of the image a token depends on after each layer.

Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
NeurIPS 2016: the gradient of the token with respect to the image, squared and averaged over images.
The sum over the token's channels uses random signs: for s_c = +1 or -1 the mean of
(sum_c s_c dy_c/dx)^2 is sum_c (dy_c/dx)^2, so one backward pass serves all channels without
cancellation. The result is summed over the pixels of each patch, the resolution of the layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor, nn

from vil_mm.models import VisionLSTM
from vil_mm.pictures.captured import captured
from vil_mm.pictures.figures import new_figure
from vil_mm.pictures.samples import list_layers

DECADES = 6  # of energy spanned by the colours of a map


class Field(NamedTuple):
    """The receptive field of the centre token after a layer.

    Attributes:
        layer: 0-based.
        energy: ``(Hg, Wg)``, float64, sums to 1.
        token: Row and column of the token.
    """

    layer: int
    energy: np.ndarray
    token: tuple[int, int]

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of energy before the token in reading order, at the token, and after it."""
        flat = self.energy.ravel()
        at = self.token[0] * self.energy.shape[1] + self.token[1]
        return float(flat[:at].sum()), float(flat[at]), float(flat[at + 1 :].sum())


def default_layers(backbone: VisionLSTM) -> list[int]:
    """Layers (0-based) to show: the first two, then the last layers of about five blocks."""
    count = len(list_layers(backbone))
    ends = [2 * round(count / 2 * part) - 1 for part in (1 / 6, 1 / 3, 1 / 2, 2 / 3)]
    return sorted({0, min(1, count - 1), count - 1, *(x for x in ends if x > 1)})


def layer_name(layer: int) -> str:
    """'layer 1' for a block's first layer, 'block 1' for its second; ``layer`` is 0-based."""
    return f'layer {layer + 1}' if layer % 2 == 0 else f'block {layer // 2 + 1}'


def receptive_fields(
    backbone: VisionLSTM,
    batches: Iterable[Tensor],
    layers: Sequence[int],
    seed: int = 0,
) -> list[Field]:
    """Receptive fields after some layers.

    Args:
        backbone: In evaluation mode; only its ``with_cp`` is changed.
        batches: Images ``(B, C, H, W)``, all of one size divisible by the patch size. Images may be
            repeated to draw more signs.
        layers: 0-based, among those that the backbone runs.
        seed: Seed of the signs.

    Raises:
        ValueError: The backbone does not run a layer, or there is no batch.
    """
    runs = _choose(backbone, layers)
    generator = torch.Generator().manual_seed(seed)
    energies = dict.fromkeys(layers, 0)
    grid = None
    with captured(runs, lambda _, inputs, output: (output, inputs[1])) as found:
        for images in batches:
            images = images.detach().requires_grad_()
            with torch.enable_grad():
                backbone(images)
            outputs = dict(found)
            for index, layer in enumerate(layers):
                x, grid = outputs[index]
                energies[layer] = energies[layer] + _energy(x, grid, images, backbone, generator)
            found.clear()
    if grid is None:
        raise ValueError('no image to measure receptive fields on')
    token = (grid[0] // 2, grid[1] // 2)
    maps = {layer: energies[layer].double().cpu().numpy() for layer in layers}
    return [Field(layer, maps[layer] / maps[layer].sum(), token) for layer in layers]


def _choose(backbone: VisionLSTM, layers: Sequence[int]) -> list[nn.Module]:
    runs = list_layers(backbone)
    if not layers or not all(0 <= layer < len(runs) for layer in layers):
        named = [layer + 1 for layer in layers]
        raise ValueError(f'layers {named}: the backbone runs layers 1 to {len(runs)}')
    for block in backbone.blocks:
        block.with_cp = False  # outputs inside a checkpointed block have no graph
    return [runs[layer] for layer in layers]


def _energy(
    x: Tensor,
    grid: tuple[int, int],
    images: Tensor,
    backbone: VisionLSTM,
    generator: torch.Generator,
) -> Tensor:
    """Squared gradient ``(Hg, Wg)`` of the centre token, over images, channels and pixels."""
    middle = x.unflatten(1, grid)[:, grid[0] // 2, grid[1] // 2]
    signs = torch.randint(2, middle.shape, generator=generator).to(middle) * 2 - 1
    (gradient,) = torch.autograd.grad((middle * signs).sum(), images, retain_graph=True)
    by_pixel = gradient.double().square().sum((0, 1), keepdim=True)
    patch = backbone.patch_embed
    return F.avg_pool2d(by_pixel, patch.patch_size, patch.proj.stride)[0, 0]


def draw_fields(fields: Sequence[Field], title: str) -> Figure:
    """Draw one map per layer on a log colour scale, and the shares of energy as bars."""
    columns = 4
    rows = -(-len(fields) // columns)
    ratio = fields[0].energy.shape[0] / fields[0].energy.shape[1]
    height = (2.6 * ratio + 0.6) * rows
    figure = new_figure(2.6 * columns + 4.2, height + 0.8)
    maps, shares = figure.subfigures(1, 2, width_ratios=(2.6 * columns + 0.9, 3.3))
    axes = maps.subplots(rows, columns, squeeze=False).ravel()
    for ax, field in zip(axes, fields, strict=False):
        image = _draw_map(ax, field)
    for ax in axes[len(fields) :]:
        ax.set_axis_off()
    bar = maps.colorbar(image, ax=axes, shrink=0.7, pad=0.01, aspect=35)
    bar.set_label('energy of a patch, relative to the largest')
    _draw_shares(shares.subplots(), fields)
    figure.suptitle(f'What the token in the middle sees of the image\n{title}', fontsize=13)
    return figure


def _draw_map(ax: Axes, field: Field):
    relative = np.maximum(field.energy / field.energy.max(), 10.0**-DECADES)
    image = ax.imshow(relative, cmap='magma', norm=LogNorm(10.0**-DECADES, 1))
    row, column = field.token
    ax.plot(column, row, marker='s', markersize=5, color='none', markeredgecolor='tab:cyan')
    before, _, after = (100 * share for share in field.shares)
    name = f'after {layer_name(field.layer)}'
    ax.set_title(f'{name}\n{before:.1f} % before, {after:.1f} % after', fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])
    return image


def _draw_shares(ax: Axes, fields: Sequence[Field]) -> None:
    shares = np.array([field.shares for field in fields])
    names = [layer_name(field.layer) for field in fields]
    left = np.zeros(len(fields))
    parts = (('before', 'tab:blue'), ('own', 'lightgrey'), ('after', 'tab:orange'))
    for part, (name, colour) in zip(shares.T, parts, strict=True):
        ax.barh(names, 100 * part, left=100 * left, color=colour, label=name)
        left = left + part
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.set_xlabel('energy (%), in reading order')
    ax.legend(ncols=3, loc='lower center', bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=9)
    ax.spines[['top', 'right']].set_visible(False)
