"""Drawing predictions, for every task."""

from __future__ import annotations

from matplotlib import pyplot
from mmengine.config import Config, ConfigDict

from vil_mm.errors import ArgumentError


def use_picture_hook(
    cfg: Config, folder: str | None, *, show: bool = False, wait_time: float = 0.0
) -> None:
    """Replace the config's visualization hook by a ``PictureHook``.

    Args:
        cfg: The config, changed in place; its hook's ``score_thr`` is kept.
        folder: Folder for the pictures; None to write none.
        show: Show each picture in a window.
        wait_time: Seconds to show each picture.

    Raises:
        ValueError: There is no display to open windows on.
    """
    if show and pyplot.get_backend().lower() == 'agg':
        raise ArgumentError('no display is available: write files instead', show=True)
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    options = {'out_dir': folder, 'show': show, 'wait_time': wait_time}
    if 'score_thr' in hooks.get('visualization', {}):
        options['score_thr'] = hooks.visualization.score_thr
    hooks.visualization = ConfigDict(type='PictureHook', **options)
