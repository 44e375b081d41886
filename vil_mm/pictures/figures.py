"""Figures without a window, and how to save them."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vil_mm.files import atomic_write


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches, without a window."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a figure atomically; its folder is created.

    Args:
        figure: The result of :func:`new_figure`.
        path: The suffix sets the format; PNG without one.
        dpi: Pixels per inch.

    Raises:
        OSError: The file cannot be written.
        ValueError: matplotlib does not know the format.
    """
    path = Path(path)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi, format=path.suffix[1:] or 'png')
    return path
