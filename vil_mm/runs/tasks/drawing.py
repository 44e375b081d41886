"""The hook that draws predictions, of every task."""

from __future__ import annotations

from matplotlib import pyplot
from mmengine.config import Config, ConfigDict

from vil_mm.errors import ArgumentError


def use_picture_hook(
    cfg: Config, folder: str | None, *, show: bool = False, wait_time: float = 0.0
) -> None:
    """Replace the config's visualization hook by a ``PictureHook``.

    Args:
        cfg: The config, changed in place; ``score_thr`` of its own hook is kept.
        folder: Gets the pictures; None to write none.
        show: Open a window for each picture.
        wait_time: Seconds for which each is shown.

    Raises:
        ValueError: Windows are asked for where none can be opened.
    """
    if show and pyplot.get_backend().lower() == 'agg':
        raise ArgumentError('there is no display, which it needs: write files instead', show=True)
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    options = {'out_dir': folder, 'show': show, 'wait_time': wait_time}
    if 'score_thr' in hooks.get('visualization', {}):
        options['score_thr'] = hooks.visualization.score_thr
    hooks.visualization = ConfigDict(type='PictureHook', **options)
