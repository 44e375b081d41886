"""Watch modules from outside while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

# From a module, its positional inputs and its output to what is kept of a call.
Keep = Callable[[nn.Module, tuple, Any], Any]


@contextmanager
def captured(modules: Sequence[nn.Module], keep: Keep) -> Iterator[list[tuple[int, Any]]]:
    """Keep something of each call of some modules.

    Args:
        modules: They are left as they were.
        keep: What to keep of a call; see ``Keep``.

    Yields:
        A list that grows while the model runs: the module's place in ``modules``, and what was
        kept, in the order of the calls.
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
