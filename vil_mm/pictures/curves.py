"""Training curves, from the scalars that MMEngine's ``LocalVisBackend`` writes during a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from mmengine.config import Config

from vil_mm.errors import ArgumentError
from vil_mm.files import require
from vil_mm.pictures.figures import new_figure, save_figure

Curve = dict[int, float]
SCORES = ('mIoU', 'accuracy/top1', 'coco/bbox_mAP', 'mAcc', 'aAcc', 'accuracy/top5')
LABELS = {
    'loss': 'training loss',
    'mIoU': 'validation mIoU (%)',
    'accuracy/top1': 'validation top-1 (%)',
    'coco/bbox_mAP': 'validation box AP',
    'images_per_s': 'images per second',
    'memory': 'peak memory (MiB)',
    'lr': 'learning rate',
}


def read_scalars(work_dir: str | Path) -> dict[str, Curve]:
    """Read the curves of a run from ``WORK_DIR/*/vis_data/scalars.json``.

    A resumed run leaves one time-stamped folder per start, joined here in the order of their names:
    a later start replaces whatever earlier ones wrote from its first training line on. Folders
    without a training line, such as those of a validation alone, are skipped.

    Returns:
        Every scalar (``loss``, ``lr``, ``mIoU`` in percent, ...) by iteration, in rising order.

    Raises:
        FileNotFoundError: The folder does not exist or holds no scalars of a training; the message
            says why.
        ValueError: A line is not JSON; the last line of a file may be truncated.
    """
    files = sorted(require('run', work_dir).glob('*/vis_data/scalars.json'))
    starts = [lines for lines in map(_read_lines, files) if any('loss' in x for x in lines)]
    if not starts:
        raise FileNotFoundError(_why_empty(Path(work_dir)))
    curves: dict[str, Curve] = {}
    for lines in starts:
        first = min(line['step'] for line in lines if 'loss' in line)
        curves = {k: {i: v for i, v in c.items() if i < first} for k, c in curves.items()}
        _add(curves, lines)
    return _sort(curves)


def _add(curves: dict[str, Curve], lines: list[dict]) -> None:
    for line in lines:
        numbers = {name: x for name, x in line.items() if _is_number(x)}  # some log lists as well
        for name in numbers.keys() - {'step', 'iter', 'epoch'} if 'step' in line else ():
            curves.setdefault(name, {})[line['step']] = numbers[name]


def _sort(curves: dict[str, Curve]) -> dict[str, Curve]:
    return {name: dict(sorted(curve.items())) for name, curve in sorted(curves.items())}


def _why_empty(work_dir: Path) -> str:
    """Why a folder holds no scalars of a training."""
    texts = {log: log.read_text(errors='replace') for log in sorted(work_dir.glob('*/*.log'))}
    trainings = [log for log, text in texts.items() if 'Checkpoints will be saved to' in text]
    if trainings and not any('(train) [' in texts[log] for log in trainings):
        interval = _logging_interval(work_dir)
        return (
            f'the training in {work_dir} ended before it logged a loss, which it does every '
            f'{interval} iterations; train longer, or set '
            'default_hooks.logger.interval=1'
        )
    if texts and not trainings:
        return f'{work_dir} holds only tests; name the work dir of a training'
    return (
        f'no training line in any {work_dir}/*/vis_data/scalars.json: is this the work dir '
        "of a training, and has its visualizer a vis_backend of type 'LocalVisBackend'?"
    )


def _logging_interval(work_dir: Path) -> int | str:
    """Iterations between two lines, from the config in the work dir; 'few' without a config."""
    configs = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not configs:
        return 'few'
    try:
        cfg = Config.fromfile(configs[-1], import_custom_modules=False)
    except Exception:  # some other Python file
        return 'few'
    return cfg.get('default_hooks', {}).get('logger', {}).get('interval', 10)


def _read_lines(path: Path) -> list[dict]:
    """The records of one file, without a last line truncated by a killed run."""
    lines, records = path.read_text(errors='replace').splitlines(), []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f'{path}, line {number} is not JSON: {line[:60]!r}') from error
            continue
        if not isinstance(record, dict) or not _is_number(record.get('step', 0)):
            raise ValueError(f'{path}, line {number} holds no scalars: {line[:60]!r}')
        records.append(record)
    return records


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def read_run(path: str | Path) -> dict[str, Curve]:
    """The curves of a work dir, or of one ``scalars.json`` alone; raises as ``read_scalars``."""
    path = Path(path)
    if not path.is_file():
        return read_scalars(path)
    curves: dict[str, Curve] = {}
    _add(curves, _read_lines(path))
    if not curves:
        raise ValueError(
            f'{path} holds no scalars; name a work dir, or a WORK_DIR/*/vis_data/scalars.json of it'
        )
    return _sort(curves)


def plot_runs(
    runs: Sequence[str | Path],
    out_png: str | Path,
    keys: Sequence[str] | None = None,
    legend: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Plot scalars of one or several runs over iterations into a PNG of 150 dpi.

    Args:
        runs: Work dirs or JSON logs.
        out_png: File to write; its folder is created.
        keys: Scalars, one panel each; by default the training loss and the first of ``SCORES`` that
            the runs have. A run that lacks a scalar is left out of its panel.
        legend: One name per run; by default those of the work dirs. Equal names are numbered.
        title: Title; by default the name of a single run.

    Returns:
        The path of the PNG.

    Raises:
        FileNotFoundError, ValueError: As ``read_run``; no run has one of the keys; or the number of
            names differs from the number of runs.
    """
    curves = [read_run(run) for run in runs]
    names = _make_distinct(list(legend or map(_name, runs)))
    if len(names) != len(runs):
        raise ArgumentError(f'{len(names)} names for {len(runs)} runs', legend=legend)
    known = sorted({name for curve in curves for name in curve})
    keys = list(keys or ['loss', *[key for key in SCORES if key in known][:1]])
    for key in keys:
        if key not in known:
            raise ValueError(f'no run has logged {key!r}; there are {", ".join(known)}')
    figure = new_figure(7.5, 1.4 + 2.3 * len(keys))
    axes = figure.subplots(len(keys), sharex=True, squeeze=False)[:, 0]
    for ax, key in zip(axes, keys, strict=True):
        own = {n: c[key] for n, c in zip(names, curves, strict=True) if key in c}
        _draw_panel(ax, key, own, {name: f'C{i}' for i, name in enumerate(names)})
    title = title or (names[0] if len(names) == 1 else None)
    if title:
        axes[0].set_title(title, loc='left', fontweight='bold')
    axes[-1].set_xlabel('iteration')
    return save_figure(figure, out_png)


def _name(run: str | Path) -> str:
    """Name of the work dir, also for a JSON log inside one; else the log's own name."""
    path = Path(run).resolve()
    if not path.is_file():
        return path.name
    in_work_dir = path.parent.name == 'vis_data' and len(path.parents) > 3
    return path.parents[2].name if in_work_dir else path.stem


def _make_distinct(names: list[str]) -> list[str]:
    """Number names that are equal."""
    numbered = [
        f'{name} ({names[: i + 1].count(name)})' if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]
    return numbered if len(set(numbered)) == len(names) else _make_distinct(numbered)


def _draw_panel(ax: Axes, key: str, curves: dict[str, Curve], colours: dict[str, str]) -> None:
    """Draw one scalar of each run: scores with marks and the best, others with a running mean."""
    for name, curve in curves.items():
        steps, values = np.array(list(curve)), np.array(list(curve.values()), float)
        if key in SCORES:
            _draw_score(ax, steps, values, name, colours[name])
        else:
            _draw_smoothed(ax, steps, values, name, colours[name])
    ax.set_ylabel(LABELS.get(key, key))
    if key in SCORES:
        highest = max((np.nanmax(list(c.values())) for c in curves.values()), default=1.0)
        ax.set_ylim(0, max(1.0, 1.18 * highest))
    elif min(min(curve.values()) for curve in curves.values()) >= 0:
        ax.set_ylim(bottom=0)
    if len(colours) > 1 or key not in SCORES:
        ax.legend(frameon=False, fontsize='small')
    ax.grid(alpha=0.3)
    ax.spines[['top', 'right']].set_visible(False)
    ax.margins(x=0.02)


def _draw_smoothed(ax: Axes, steps: np.ndarray, values: np.ndarray, name: str, color: str) -> None:
    width = max(1, len(values) // 25)
    ax.plot(steps, values, color=color, alpha=0.3, linewidth=1)
    label = f'{name}, mean of {2 * width + 1}'
    ax.plot(steps, smooth(values, width), color=color, linewidth=1.8, label=label)


def _draw_score(ax: Axes, steps: np.ndarray, values: np.ndarray, name: str, color: str) -> None:
    best = int(np.nanargmax(values))
    label = f'{name}, best {values[best]:.2f}'
    ax.plot(steps, values, color=color, linewidth=1.8, marker='o', markersize=4, label=label)
    ax.annotate(
        f'{values[best]:.2f}',
        (steps[best], values[best]),
        xytext=(0, 7),
        textcoords='offset points',
        color=color,
        ha='right' if best > len(values) // 2 else 'left',
    )


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Running mean of values ``(N,)`` over a window of ``width`` on both sides, ignoring NaNs."""
    finite = np.isfinite(values)
    kernel = np.ones(2 * width + 1)
    total, count = (
        np.convolve(x, kernel)[width : width + len(values)]
        for x in (np.where(finite, values, 0.0), finite.astype(float))
    )
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)
