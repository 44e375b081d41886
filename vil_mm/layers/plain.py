"""Whether a module computes what its class defines, so that its weights can be used directly."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.module import _has_any_global_hook


def altered(module: nn.Module, *classes: type[nn.Module]) -> str | None:
    """Why a module has to be called, for a message; None if using its weights is enough.

    Adapters, quantization and parametrizations change the class; pruning and the older weight norm
    are hooks; some tools replace ``forward`` of one object.

    Args:
        module: Of a network.
        classes: What the network was built with; subclasses do not count.
    """
    if type(module) not in classes:
        return f'is a {type(module).__name__}'
    if module._forward_hooks or module._forward_pre_hooks or _has_any_global_hook():
        return 'has forward hooks'
    if module._backward_hooks or module._backward_pre_hooks:
        return 'has backward hooks'
    if 'forward' in module.__dict__:
        return 'has its own forward'
    return None
