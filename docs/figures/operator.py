"""Draws docs/images/operator.png: what the mLSTM computes, how chunks do it, what both cost.

python docs/figures/operator.py docs/images/operator.png
"""

import sys

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch.nn import functional as F

from vil_mm.mlstm.cost import Choice, choose_chunk_size, flops

TOKENS, CHUNK, HEADS, CHANNELS = 48, 12, 4, 96
BLUE, ORANGE, INK = '#2b6cb0', '#dd6b20', '#2d3748'


def weights(tokens: int) -> np.ndarray:
    """exp(L - m) of the definition, ``(tokens, tokens)``, for gates drawn once."""
    generator = torch.Generator().manual_seed(3)
    decay = F.logsigmoid(2.2 + torch.randn(tokens, generator=generator)).cumsum(0)
    written = 1.2 * torch.randn(tokens, generator=generator)
    log_weights = decay[:, None] - decay[None] + written[None]
    log_weights = log_weights.masked_fill(torch.ones_like(log_weights).triu(1).bool(), -np.inf)
    return (log_weights - log_weights.amax(1, keepdim=True)).exp().numpy()


def draw_weights(ax) -> None:
    ax.imshow(np.ma.masked_equal(weights(TOKENS), 0), cmap='Blues', vmin=0, vmax=1)
    ax.set_title('weights $\\exp(L_{ts}-m_t)$')
    ax.set_xlabel('token $s$ that is remembered')
    ax.set_ylabel('token $t$ that reads')


def draw_chunks(ax) -> None:
    count = TOKENS // CHUNK
    ax.set(xlim=(0, TOKENS), ylim=(TOKENS, 0), aspect='equal', title='the same in chunks')
    for row in range(count):
        for column in range(row + 1):
            corner, colour = (column * CHUNK, row * CHUNK), BLUE if row == column else ORANGE
            alpha = 0.75 if row == column else 0.25
            ax.add_patch(Rectangle(corner, CHUNK, CHUNK, facecolor=colour, alpha=alpha, ec='white'))
    for chunk in range(count - 1):
        edge = (chunk + 1) * CHUNK
        ax.annotate(
            '',
            (edge + 4, edge + 6),
            (edge - 6, edge - 2),
            arrowprops={'color': INK, 'arrowstyle': '->', 'lw': 1.6},
        )
    ax.text(
        TOKENS * 0.98,
        4,
        'blue: pairs of a chunk\norange: through its state\n$C$ (DH × DH), $n$, $m$',
        ha='right',
        va='top',
        color=INK,
    )
    ax.set_xlabel('token $s$')


def draw_cost(ax) -> None:
    lengths = np.unique(np.logspace(np.log10(64), np.log10(65536), 60).astype(int))
    pair = [flops(Choice('parallel'), int(s), HEADS, CHANNELS) for s in lengths]
    size = [choose_chunk_size(int(s), HEADS, CHANNELS) for s in lengths]
    forms = [Choice('chunkwise', c) for c in size]
    chunked = [flops(f, int(s), HEADS, CHANNELS) for f, s in zip(forms, lengths, strict=True)]
    ax.loglog(lengths, np.array(pair) / 1e9, color=INK, label='all pairs (and attention)', lw=2)
    ax.loglog(lengths, np.array(chunked) / 1e9, color=BLUE, label='in chunks', lw=2)
    for side in (224, 512, 1024, 2048):
        ax.axvline((side // 16) ** 2, color='0.8', zorder=0, lw=1)
        ax.text((side // 16) ** 2, ax.get_ylim()[0] * 1.5, f' {side} px', color='0.4', fontsize=8)
    ax.set_title('products of one layer of ViL-T')
    ax.set_xlabel('tokens')
    ax.set_ylabel('GFLOP')
    ax.legend(frameon=False)
    ax.spines[['top', 'right']].set_visible(False)


def main() -> None:
    figure = Figure(figsize=(13, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    first, second, third = figure.subplots(1, 3)
    draw_weights(first)
    draw_chunks(second)
    draw_cost(third)
    figure.savefig(sys.argv[1], dpi=110)


if __name__ == '__main__':
    main()
