"""Compare models over resolutions, as a table and a picture."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from mmengine.config import Config

from vil_mm.measure.model_speed import Setting, measure_model
from vil_mm.measure.speed import Row, device_name, reason_kept
from vil_mm.pictures.figures import new_figure, save_figure
from vil_mm.progress import Progress, no_progress


def compare_models(
    configs: dict[str, Config],
    sides: Sequence[int],
    setting: Setting,
    progress: Progress = no_progress,
) -> list[Row]:
    """Measure each config on square images of each size; an error becomes a row's ``reason``.

    Args:
        configs: Configs by display name.
        sides: Sides of the images in pixels.
        setting: How to measure.
        progress: Called after each measurement.
    """
    setting.check()
    rows = []
    for name, cfg in configs.items():
        for side in sides:
            row: Row = {'config': name, 'side': side}
            with reason_kept(row):
                row.update(measure_model(cfg, (side, side), setting))
            rows.append(row)
            gc.collect()
            progress('models', len(rows), len(configs) * len(sides))
    return rows


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of a table of the rows, grouped by size."""
    width = max(len(str(row['config'])) for row in rows)
    yield (
        f'{"config":<{width}}{"pixels":>8}{"ms":>10}{"p90":>10}{"images/s":>10}{"MiB":>9}'
        f'{"M params":>10}{"G MAC":>9}'
    )
    for side in dict.fromkeys(row['side'] for row in rows):
        for row in (row for row in rows if row['side'] == side):
            start = f'{row["config"]:<{width}}{side:>8}'
            if 'reason' in row:
                yield f'{start}  {row["reason"]}'
                continue
            mac = f'{row["GMAC"]:>9.2f}' if 'GMAC' in row else f'{"-":>9}'
            peak = f'{"-":>9}' if row['peak_MiB'] is None else f'{row["peak_MiB"]:>9.0f}'
            yield (
                f'{start}{row["ms"]:>10.1f}{row["ms_p90"]:>10.1f}{row["images_per_s"]:>10.2f}'
                f'{peak}{row["parameters"]:>10.2f}{mac}'
            )


def plot_comparison(rows: Sequence[Row], setting: Setting, out_png: str | Path) -> Path:
    """Plot latency and peak memory over the side of the image, log-log, as a PNG of 150 dpi.

    The memory panel is left out if no row has a value.

    Raises:
        ValueError: All measurements failed.
    """
    measured = [row for row in rows if 'reason' not in row]
    if not measured:
        raise ValueError(f'nothing was measured: {rows[0]["reason"]}')
    what = 'training step' if setting.train_step else 'prediction'
    panels = {'ms': (f'{what}, batch {setting.batch_size} (ms)', 'time')}
    if any(row['peak_MiB'] is not None for row in measured):
        panels['peak_MiB'] = ('peak memory (MiB)', 'memory')
    figure = new_figure(5.5 * len(panels), 4.6)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (key, (label, panel)) in zip(axes, panels.items(), strict=True):
        _draw(ax, [row for row in measured if row[key] is not None], key, label, panel)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=2, frameon=False)
    precision = setting.amp or 'float32'
    figure.suptitle(f'{device_name(setting.device)}, {precision}', fontsize='medium', color='0.3')
    return save_figure(figure, out_png)


def _draw(axes: Axes, rows: Sequence[Row], key: str, label: str, title: str) -> None:
    for name in dict.fromkeys(row['config'] for row in rows):
        points = sorted((row['side'], row[key]) for row in rows if row['config'] == name)
        axes.plot(*zip(*points, strict=True), marker='o', linewidth=1.8, label=name)
    axes.set(xscale='log', yscale='log', xlabel='side of the image (pixels)', ylabel=label)
    axes.set_title(title, loc='left', fontweight='bold')
    sides = sorted({row['side'] for row in rows})
    axes.set_xticks(sides, [str(side) for side in sides])
    axes.xaxis.set_minor_locator(NullLocator())
    _number(axes.yaxis, [row[key] for row in rows])
    axes.grid(alpha=0.3, which='both')
    axes.spines[['top', 'right']].set_visible(False)


def _number(axis: Axis, values: Sequence[float]) -> None:
    """Label a logarithmic axis with at least three plain numbers, however close the values."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:,.10g}'))
    axis.set_minor_formatter(NullFormatter())
    span = max(values) / max(min(values), 1e-9)
    if span < 10:  # may contain no power of ten
        axis.set_major_locator(MaxNLocator(6, steps=(1, 2, 2.5, 5, 10), min_n_ticks=3))
        axis.set_minor_locator(NullLocator())
    elif span < 300:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
