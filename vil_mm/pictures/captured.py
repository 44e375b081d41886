"""Record module outputs while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

# Maps a module, its positional inputs and its output to the value to keep from a call.
Keep = Callable[[nn.Module, tuple, Any], Any]


@contextmanager
def captured(modules: Sequence[nn.Module], keep: Keep) -> Iterator[list[tuple[int, Any]]]:
    """Keep a value from each call of some modules.

    Args:
        modules: Modules to hook; the hooks are removed at the end.
        keep: Selects the value to keep; see ``Keep``.

    Yields:
        A list that grows while the model runs, in order of calls: the module's index in ``modules``
        and the kept value.
    """
    found: list[tuple[int, Any]] = []

    def watch(index: int, module: nn.Module):
        def hook(module: nn.Module, inputs: tuple, output: Any) -> None:
            found.append((index, keep(module, inputs, output)))

        return module.register_forward_hook(hook)

    handles = [watch(index, module) for index, module in enumerate(modules)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
