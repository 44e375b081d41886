"""Training curves, from the scalars that MMEngine's ``LocalVisBackend`` writes beside a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Curve = dict[int, float]


def read_scalars(work_dir: str | Path) -> dict[str, Curve]:
    """Read the curves of a run from ``WORK_DIR/*/vis_data/scalars.json``.

    A resumed run leaves one time-stamped folder per start. They are joined in the order of their
    names: from the first training line of a later start on, what earlier ones wrote is dropped.
    Folders without a training line, as a validation on its own leaves them, are passed over.

    Returns:
        For every scalar (``loss``, ``lr``, ``mIoU`` in percent, ...) its value by iteration, the
        iterations in rising order.

    Raises:
        FileNotFoundError: No start of a training has written scalars there.
        ValueError: A line is not JSON; the last of a file may be cut short.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    starts = [lines for lines in map(_read_lines, files) if any('loss' in x for x in lines)]
    if not starts:
        raise FileNotFoundError(
            f'no training line in any {work_dir}/*/vis_data/scalars.json: is this the --work-dir '
            "of a training, and has its visualizer a vis_backend of type 'LocalVisBackend'?"
        )
    curves: dict[str, Curve] = {}
    for lines in starts:
        first = min(line['step'] for line in lines if 'loss' in line)
        curves = {k: {i: v for i, v in c.items() if i < first} for k, c in curves.items()}
        for line in lines:
            for name in line.keys() - {'step', 'iter', 'epoch'}:
                curves.setdefault(name, {})[line['step']] = line[name]
    return {name: dict(sorted(curve.items())) for name, curve in sorted(curves.items())}


def _read_lines(path: Path) -> list[dict]:
    """The records of one file; a last line that a killed run has cut short is left out."""
    lines, records = path.read_text().splitlines(), []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f'{path}, line {number} is not JSON: {line[:60]!r}') from error
    return records


def plot_curves(work_dir: str | Path, out_png: str | Path) -> Path:
    """Draw loss and, below it, mIoU over the iterations of a run into a PNG of 150 dpi.

    Args:
        work_dir: Folder of the run, see ``read_scalars`` for what is read and raised.
        out_png: File to write, its folder is made. A run that has not been validated yet gets
            only the loss.

    Returns:
        The path of the PNG.
    """
    curves, out_png = read_scalars(work_dir), Path(out_png)
    panels = 2 if 'mIoU' in curves else 1
    figure = Figure(figsize=(7, 1.4 + 2.3 * panels), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(panels, sharex=True, squeeze=False)[:, 0]
    _draw_loss(axes[0], curves['loss'])
    if panels == 2:
        _draw_miou(axes[1], curves['mIoU'])
    axes[0].set_title(Path(work_dir).resolve().name, loc='left', fontweight='bold')
    axes[-1].set_xlabel('iteration')
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.spines[['top', 'right']].set_visible(False)
        ax.margins(x=0.02)
    out_png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_png, dpi=150)
    return out_png


def _draw_loss(ax: Axes, curve: Curve) -> None:
    iterations, loss = np.array(list(curve)), np.array(list(curve.values()), float)
    width = max(1, len(loss) // 25)
    ax.plot(iterations, loss, color='tab:blue', alpha=0.3, linewidth=1, label='as logged')
    label = f'running mean of {2 * width + 1}'
    ax.plot(iterations, smooth(loss, width), color='tab:blue', linewidth=1.8, label=label)
    ax.set_ylabel('training loss')
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)


def _draw_miou(ax: Axes, curve: Curve) -> None:
    iterations, miou = list(curve), list(curve.values())
    ax.plot(iterations, miou, color='tab:orange', linewidth=1.8, marker='o', markersize=4)
    best = int(np.nanargmax(miou))
    ax.set_ylabel('validation mIoU (%)')
    ax.set_ylim(0, max(1.0, 1.18 * miou[best]))
    ax.annotate(
        f'best {miou[best]:.2f}',
        (iterations[best], miou[best]),
        xytext=(0, 7),
        textcoords='offset points',
        ha='right' if best > len(miou) // 2 else 'left',
    )


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over each value and the ``width`` before and after it; fewer at the ends.

    Values ``(N,)`` that are not finite count for nothing.
    """
    finite = np.isfinite(values)
    kernel = np.ones(2 * width + 1)
    total, count = (
        np.convolve(x, kernel)[width : width + len(values)]
        for x in (np.where(finite, values, 0.0), finite.astype(float))
    )
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)
