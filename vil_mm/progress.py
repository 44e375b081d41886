"""A progress bar for work whose size is known when it begins."""

from __future__ import annotations

from mmengine.utils import ProgressBar


class LazyBar:
    """A progress bar that begins with the first step, when the number of all is known."""

    bar: ProgressBar | None = None

    def __call__(self, total: int) -> None:
        self.bar = self.bar or ProgressBar(total)
        self.bar.update()
