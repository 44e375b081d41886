"""Tokens after some blocks: their principal components as colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from vil_mm.models import VisionLSTM
from vil_mm.pictures.captured import captured
from vil_mm.pictures.figures import new_figure
from vil_mm.pictures.samples import Sample


class ComponentMaps(NamedTuple):
    """The first three principal components of the tokens of some images after one block.

    Attributes:
        pictures: One per image, ``(Hg, Wg, 3)`` in [0, 1]; colours are comparable between images.
        explained: Share of the tokens' variance explained by the three components.
    """

    pictures: list[np.ndarray]
    explained: float


def default_blocks(backbone: VisionLSTM) -> list[int]:
    """Blocks (0-based) to show: the taps of a segmentor, else those after 1/3, 1/2, 2/3 and all."""
    if len(backbone.out_indices) > 1:
        return list(backbone.out_indices)
    count = backbone.out_indices[-1] + 1
    return sorted({max(1, round(count * part)) - 1 for part in (1 / 3, 1 / 2, 2 / 3, 1)})


def check_blocks(backbone: VisionLSTM, blocks: Sequence[int]) -> None:
    """Raise ValueError if the backbone does not run one of the blocks (0-based)."""
    count = backbone.out_indices[-1] + 1
    wrong = [block + 1 for block in blocks if not 0 <= block < count]
    if wrong:
        raise ValueError(f'no block {wrong[0]}: the backbone runs blocks 1 to {count}')


@torch.no_grad()
def tap_maps(backbone: VisionLSTM, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Token maps ``(B, Hg, Wg, D)`` after some blocks (0-based), before any norm.

    Raises:
        ValueError: The backbone does not run a block.
    """
    check_blocks(backbone, blocks)
    modules = [backbone.blocks[index] for index in blocks]
    with captured(modules, lambda _, inputs, output: output.unflatten(1, inputs[1])) as found:
        backbone(images)
    maps = dict(found)
    return [maps[place] for place in range(len(blocks))]


def component_maps(maps: Sequence[Tensor]) -> ComponentMaps:
    """Map the first three principal components of all images' tokens to red, green and blue.

    Each component is stretched so that its 1st and 99th percentiles become 0 and 1. Its sign is
    chosen so that its largest weight is positive.

    Args:
        maps: One per image, ``(Hg, Wg, D)`` with D >= 3; sizes may differ.
    """
    tokens = torch.cat([x.flatten(0, 1) for x in maps]).double().cpu()
    tokens = tokens - tokens.mean(0)
    variances, directions = torch.linalg.eigh(tokens.T @ tokens)  # ascending
    directions = directions[:, -3:].flip(1)
    largest = directions.abs().argmax(0)
    directions = directions * directions[largest, torch.arange(3)].sign()
    explained = variances[-3:].sum() / variances.sum().clamp(min=torch.finfo(torch.double).tiny)

    components = (tokens @ directions).numpy()
    low, high = np.percentile(components, (1, 99), axis=0)
    colours = np.clip((components - low) / np.maximum(high - low, 1e-12), 0, 1)
    sizes = [x.shape[0] * x.shape[1] for x in maps]
    parts = np.split(colours, np.cumsum(sizes)[:-1])
    pictures = [part.reshape(*x.shape[:2], 3) for part, x in zip(parts, maps, strict=True)]
    return ComponentMaps(pictures, float(explained))


def draw_features(
    backbone: VisionLSTM,
    samples: Sequence[Sample],
    title: str,
    blocks: Sequence[int] | None = None,
) -> Figure:
    """Draw one row per image: the image, and the components of its tokens after each block.

    Args:
        backbone: The model's backbone.
        samples: The images.
        title: Figure title.
        blocks: 0-based; ``None`` for :func:`default_blocks`.

    Raises:
        ValueError: The backbone does not run a block.
    """
    blocks = default_blocks(backbone) if blocks is None else list(blocks)
    taps = [tap_maps(backbone, sample.inputs, blocks) for sample in samples]
    columns = [component_maps([tap[i][0] for tap in taps]) for i in range(len(blocks))]
    heights = [2.6 * x.picture.shape[0] / x.picture.shape[1] for x in samples]
    figure = new_figure(2.6 * (len(blocks) + 1), sum(heights) + 1.2)
    axes = figure.subplots(len(samples), len(blocks) + 1, squeeze=False, height_ratios=heights)
    for row, sample in zip(axes, samples, strict=True):
        row[0].imshow(sample.picture)
    axes[0, 0].set_title('input')
    for column, block, components in zip(axes.T[1:], blocks, columns, strict=True):
        for ax, picture in zip(column, components.pictures, strict=True):
            ax.imshow(picture, interpolation='nearest')
        share = f'{100 * components.explained:.0f} % of variance'
        column[0].set_title(f'after block {block + 1}\n{share}', fontsize=11)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.suptitle(f'Three main components of the tokens as colours\n{title}', fontsize=12)
    return figure
