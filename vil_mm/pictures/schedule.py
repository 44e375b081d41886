"""The learning rate of a run: by its config's schedulers, and by the formula of the recipe."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, NullFormatter
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from vil_mm.pictures.figures import new_figure, save_figure

DRAWN = 2000  # points of a curve


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up, then half a cosine: the schedule of every ViL recipe.

    Attributes:
        peak: Learning rate at update ``warmup``.
        end: Learning rate at the last update, ``total - 1``.
        warmup: Number W of updates before the peak; update s has peak * (s + 1) / (W + 1).
        total: Number T of updates.
    """

    peak: float
    end: float
    warmup: int
    total: int

    def __call__(self, updates: np.ndarray) -> np.ndarray:
        """Learning rates ``(N,)`` at updates ``(N,)``, counted from 0."""
        rising = self.peak * (updates + 1) / (self.warmup + 1)
        done = (updates - self.warmup) / (self.total - 1 - self.warmup)
        falling = self.end + (self.peak - self.end) * (1 + np.cos(np.pi * done)) / 2
        return np.where(updates < self.warmup, rising, falling)


def read_recipe(cfg: Config) -> WarmupCosine:
    """The schedule defined by a config's variables and its optimizer's learning rate.

    Raises:
        ValueError: The config does not train, or lacks the variables.
    """
    _require(cfg, 'optim_wrapper', 'max_iters', 'warmup_iters', 'end_lr')
    peak = cfg.optim_wrapper.optimizer.lr
    return WarmupCosine(peak, cfg.end_lr, cfg.warmup_iters, cfg.max_iters)


def scheduled_rates(cfg: Config) -> np.ndarray:
    """Learning rate at every update ``(T,)`` of a run, by stepping the config's own schedulers.

    This is the optimizer's rate; parameters with a multiplier (from layer-wise decay) have that
    multiple of it. A million updates take some seconds.

    Raises:
        ValueError: The config does not train, or a scheduler counts epochs.
    """
    _require(cfg, 'optim_wrapper', 'param_scheduler', 'train_cfg')
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=cfg.optim_wrapper.optimizer.lr)
    if any(scheduler.get('by_epoch', True) for scheduler in cfg.param_scheduler):
        raise ValueError('a scheduler lacks by_epoch=False: only updates can be plotted')
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer)) for s in cfg.param_scheduler]
    (group,) = optimizer.param_groups
    rates = np.empty(cfg.train_cfg.max_iters)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the optimizer itself is never stepped
        for update in range(len(rates)):
            rates[update] = group['lr']
            for scheduler in schedulers:
                scheduler.step()
    return rates


def relative_difference(rates: np.ndarray, recipe: WarmupCosine) -> np.ndarray:
    """Relative difference of learning rates ``(T,)`` from the formula."""
    expected = recipe(np.arange(len(rates)))
    return np.abs(rates - expected) / expected


def plot_schedule(cfg: Config, out_png: str | Path) -> float:
    """Plot schedulers and formula over the whole run and the warm-up, and their difference.

    Args:
        cfg: A config that trains.
        out_png: PNG of 150 dpi to write; its folder is created.

    Returns:
        The largest relative difference over all updates.
    """
    recipe, rates = read_recipe(cfg), scheduled_rates(cfg)
    difference = relative_difference(rates, recipe)
    figure = new_figure(10, 5.6)
    grid = figure.add_gridspec(2, 2, width_ratios=(2, 1), height_ratios=(2, 1))
    whole = figure.add_subplot(grid[0, 0])
    start = figure.add_subplot(grid[0, 1])
    below = figure.add_subplot(grid[1, :])
    _draw_rates(whole, rates, recipe, len(rates))
    _draw_rates(start, rates, recipe, min(2 * recipe.warmup + 2, len(rates)))
    _draw_difference(below, difference)
    whole.set_title(Path(cfg.filename).stem, loc='left', fontweight='bold')
    whole.set_ylabel('learning rate')
    whole.legend(frameon=False, loc='center right')
    start.set_title('warm-up', loc='left')
    for axes in (whole, start, below):
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
        axes.xaxis.set_major_formatter(EngFormatter(sep=''))
        axes.set_xlabel('update')
    save_figure(figure, out_png)
    return float(difference.max())


def _draw_rates(axes: Axes, rates: np.ndarray, recipe: WarmupCosine, end: int) -> None:
    """Draw both curves over the first ``end`` updates; mark the peak and the last update."""
    shown = np.unique(np.linspace(0, end - 1, DRAWN).astype(int))
    axes.plot(
        shown, rates[shown], color='tab:blue', alpha=0.4, linewidth=6, label="config's schedulers"
    )
    formula = recipe(shown)
    axes.plot(shown, formula, color='black', linewidth=1, linestyle=(0, (5, 3)), label='formula')
    marks = [recipe.warmup] if recipe.warmup < end else []
    marks += [end - 1] if end == len(rates) else []
    for update in marks:
        axes.plot(update, rates[update], 'o', color='tab:red', markersize=4, clip_on=False)
        axes.annotate(
            f'{rates[update]:.4g}',
            (update, rates[update]),
            xytext=(0, 6),
            textcoords='offset points',
            ha='right' if update > end // 2 else 'left',
        )
    axes.set_ylim(0, 1.15 * rates.max())


def _draw_difference(axes: Axes, difference: np.ndarray) -> None:
    """Plot the largest difference in each of some equal parts of the run."""
    width = -(-len(difference) // DRAWN)
    starts = np.arange(0, len(difference), width)
    axes.semilogy(starts, np.maximum.reduceat(difference, starts), color='tab:red', linewidth=0.8)
    axes.axhline(difference.max(), color='grey', linewidth=0.8, linestyle=':')
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel('relative difference')
    title = f'config against formula, largest of {len(difference):,} updates: '
    axes.set_title(f'{title}{difference.max():.1e}', loc='left')


def _require(cfg: Config, *names: str) -> None:
    missing = [name for name in names if cfg.get(name) is None]
    if missing:
        raise ValueError(
            f'{cfg.filename}: no {", ".join(missing)}; name a config that trains and that states '
            'its schedule by max_iters, warmup_iters and end_lr'
        )
