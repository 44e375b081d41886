"""How long the memory of each mLSTM head lasts, from the forget gates of an image.

A token written at time s has decayed by time t by the product of the forget gates in between,
``exp(F_t - F_s)`` with ``F_t = sum_{r<=t} log sigmoid(f_r)`` (a token's own gate does not apply to
it). The input gate, which sets how strongly a token is written, is not part of this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from vil_mm.errors import ArgumentError
from vil_mm.layers.scan import NUM_HEADS, Scan
from vil_mm.layers.traversal import Order
from vil_mm.models import VisionLSTM
from vil_mm.pictures.captured import captured
from vil_mm.pictures.figures import new_figure
from vil_mm.pictures.samples import Sample, list_layers

ARROWS = {(False, False): '→↓', (False, True): '←↑', (True, False): '↓→', (True, True): '↑←'}


class ScanGates(NamedTuple):
    """Forget gates of one scan of an image.

    Attributes:
        layer: 0-based.
        order: Order in which the grid was read.
        grid: (Hg, Wg).
        log_forget: ``(NH, S)``, log sigmoid(f), in reading order; float64.
    """

    layer: int
    order: Order
    grid: tuple[int, int]
    log_forget: Tensor


@torch.no_grad()
def read_gates(backbone: VisionLSTM, images: Tensor) -> list[ScanGates]:
    """Forget gates of every scan for an image ``(1, C, H, W)``, in the order of the layers.

    Hooks on the forget gates make scans call them instead of fusing them.
    """
    scans = [(i, scan) for i, layer in enumerate(list_layers(backbone)) for scan in layer.scans]
    with captured([x for _, scan in scans for x in (scan.fgate, scan)], _keep) as found:
        backbone(images)
    calls = iter(found)  # a scan calls its gate before it ends
    return [
        ScanGates(scans[index // 2][0], order, grid, _log_forget(gates, order))
        for (_, gates), (index, (order, grid)) in zip(calls, calls, strict=True)
    ]


def _keep(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | tuple[Order, tuple]:
    """The output of a forget gate, or the order and grid of a scan."""
    if not isinstance(module, Scan):
        return output
    x, _, order = inputs
    return order, tuple(x.shape[1:3])


def _log_forget(gates: Tensor, order: Order) -> Tensor:
    """Turn pre-activations ``(1, H, W, NH)`` into ``(NH, S)``, in reading order."""
    log_forget = F.logsigmoid(gates[0].double()).flatten(0, 1).T.cpu()
    return log_forget.flip(-1) if order.reverse else log_forget


def half_life(log_forget: Tensor) -> Tensor:
    """Tokens after which half of a contribution remains, at the mean rate over ``(..., S)``.

    The first gate acts on an empty memory and is ignored. Infinite if nothing is forgotten.
    """
    rate = -log_forget[..., 1:].mean(-1)
    return math.log(2) / rate


def survival(log_forget: Tensor, at: int) -> Tensor:
    """Share of each token ``(..., S)`` that remains at time ``at``, 0 to 1; 0 for later tokens."""
    total = log_forget.cumsum(-1)
    share = (total[..., at : at + 1] - total).exp()
    share[..., at + 1 :] = 0
    return share


def survival_map(gates: ScanGates, token: tuple[int, int] | None = None) -> Tensor:
    """Share of each token ``(NH, Hg, Wg)`` that remains when a given token is read.

    Args:
        gates: Gates of a scan.
        token: Row and column of the token; ``None`` for the last token of the scan.

    Raises:
        ValueError: The token is outside the grid.
    """
    height, width = gates.grid
    length = height * width
    at = length - 1 if token is None else _find_time(token, gates)
    share = survival(gates.log_forget, at)
    share = share.flip(-1) if gates.order.reverse else share
    if gates.order.columns:
        return share.unflatten(-1, (width, height)).transpose(-2, -1)
    return share.unflatten(-1, (height, width))


def _find_time(token: tuple[int, int], gates: ScanGates) -> int:
    (row, column), (height, width) = token, gates.grid
    if not (0 <= row < height and 0 <= column < width):
        raise ArgumentError(
            f'is outside the grid of {height} rows and {width} columns of tokens; both count from '
            '0',
            token=token,
        )
    at = column * height + row if gates.order.columns else row * width + column
    return height * width - 1 - at if gates.order.reverse else at


def default_layers(gates: Sequence[ScanGates]) -> list[int]:
    """Layers (0-based) to draw maps of: the first two, two in the middle, the last two."""
    last = gates[-1].layer
    middle = last // 4 * 2
    return sorted({0, min(1, last), middle, min(middle + 1, last), max(last - 1, 0), last})


def draw_decay(
    gates: Sequence[ScanGates],
    sample: Sample,
    title: str,
    token: tuple[int, int] | None = None,
) -> Figure:
    """Draw half-lives of all layers and heads, and maps of surviving tokens in some layers.

    Args:
        gates: The result of :func:`read_gates`; maps show the first scan of a layer.
        sample: The image.
        title: Figure title.
        token: See :func:`survival_map`.

    Raises:
        ValueError: The token is outside the grid.
    """
    layers = default_layers(gates)
    first = {scan.layer: scan for scan in reversed(gates)}
    shown = [first[layer] for layer in layers]
    maps = [survival_map(scan, token) for scan in shown]
    ratio = gates[0].grid[0] / gates[0].grid[1]
    figure = new_figure(12, 4.0 + 1.7 * ratio * NUM_HEADS + 1.0)
    top, bottom = figure.subfigures(2, height_ratios=(3.4, 1.7 * ratio * NUM_HEADS + 1.0))
    picture, curves = top.subplots(1, 2, width_ratios=(1, 2.4))
    picture.imshow(sample.picture)
    picture.set_title(sample.name)
    picture.set_axis_off()
    _draw_half_lives(curves, gates)
    when = 'at the end of the scan' if token is None else f'when token {token} is read'
    _draw_maps(bottom, shown, maps, token, f'Share of each token that is left {when}')
    figure.suptitle(f'What the memory of the scans keeps\n{title}', fontsize=13)
    return figure


def _draw_half_lives(ax: Axes, gates: Sequence[ScanGates]) -> None:
    lives = torch.stack([half_life(scan.log_forget) for scan in gates]).numpy()
    layers = [scan.layer + 1 for scan in gates]
    for head in range(lives.shape[1]):
        ax.scatter(layers, lives[:, head], s=26, label=f'head {head + 1}', zorder=3)
        by_layer = [lives[[x == layer for x in layers], head].mean() for layer in sorted({*layers})]
        ax.plot(sorted({*layers}), by_layer, linewidth=1, alpha=0.5)
    height, width = gates[0].grid
    for tokens, name in ((width, 'a row'), (height * width, 'the image')):
        ax.axhline(tokens, color='grey', linestyle='--', linewidth=1)
        ax.annotate(
            name,
            (1.005, tokens),
            xycoords=('axes fraction', 'data'),
            va='center',
            color='grey',
            fontsize=9,
        )
    ax.set_yscale('log')
    ax.set_xlabel('layer')
    ax.set_ylabel('half-life (tokens)')
    ax.set_title('Tokens after which half is left, at the mean rate')
    ax.grid(alpha=0.3)
    ax.spines[['top', 'right']].set_visible(False)
    ax.legend(
        ncols=NUM_HEADS, frameon=False, fontsize=9, loc='best', columnspacing=1, handletextpad=0.3
    )


def _draw_maps(figure, shown: list[ScanGates], maps: list[Tensor], token, title: str) -> None:
    axes = figure.subplots(NUM_HEADS, len(shown), squeeze=False)
    for column, scan, heads in zip(axes.T, shown, maps, strict=True):
        for head, (ax, left) in enumerate(zip(column, heads, strict=True), start=1):
            image = ax.imshow(left.numpy(), cmap='viridis', vmin=0, vmax=1)
            if token is not None:
                ax.plot(
                    token[1], token[0], 's', markersize=5, color='none', markeredgecolor='tab:red'
                )
            ax.set_xticks([])
            ax.set_yticks([])
            if scan is shown[0]:
                ax.set_ylabel(f'head {head}')
        column[0].set_title(f'layer {scan.layer + 1}  {ARROWS[tuple(scan.order)]}', fontsize=11)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, aspect=35)
    bar.set_label('share left')
    figure.suptitle(title, fontsize=12)
