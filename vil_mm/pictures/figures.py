"""Figures that need no window, and the files that they become."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vil_mm.files import atomic_write


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches that needs no window."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a picture, its folder is made; the file appears when it is complete.

    Args:
        figure: Of :func:`new_figure`.
        path: Its ending is the format, PNG without one.
        dpi: Pixels an inch.

    Raises:
        OSError: It cannot be written.
        ValueError: matplotlib does not know the format.
    """
    path = Path(path)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi, format=path.suffix[1:] or 'png')
    return path
