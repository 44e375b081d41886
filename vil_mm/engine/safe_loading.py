"""Make mmengine read checkpoints and YAML without running code from them.

Importing this module registers both, so they hold for every path of mmengine, mmpretrain,
mmsegmentation and mmdetection: load_from, resume, EMA, test, inference.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import yaml
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler
from mmengine.runner import CheckpointLoader
from torch import Tensor

from vil_mm.checkpoints.reading import CheckpointError, check_weights, read_checkpoint


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(
    filename: str, map_location: str | torch.device | Callable | None = None
) -> object:
    """mmengine's loader of local files, without code and with checked weights.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: It holds more than data, or unusable weights.
    """
    content = read_checkpoint(filename, map_location or 'cpu')
    if not isinstance(content, dict):
        raise CheckpointError(f'{filename} holds no weights, but one {type(content).__name__}')
    for name in ('state_dict', 'ema_state_dict'):
        if name in content:
            content[name] = _clean(content[name], f'{filename} ({name})')
    return content if 'state_dict' in content else _clean(content, filename)


def _clean(state: object, source: str) -> OrderedDict:
    """Check a state dict, and drop what is no weight and has no name: mmengine would fail."""
    if not isinstance(state, dict):
        raise CheckpointError(f'{source} is no dict of weights, but a {type(state).__name__}')
    check_weights(state, source)
    if not any(isinstance(x, Tensor) for x in state.values()):
        raise CheckpointError(f'{source} holds no weights')
    named = OrderedDict((key, x) for key, x in state.items() if isinstance(key, str))
    metadata = getattr(state, '_metadata', None)
    named._metadata = metadata if isinstance(metadata, dict) else OrderedDict()
    return named


class _SafeLoader(yaml.SafeLoader):
    """Plain values, and the tuples that mmengine writes."""


_SafeLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', lambda loader, node: tuple(loader.construct_sequence(node))
)


@register_handler(['yaml', 'yml'])
class SafeYamlHandler(YamlHandler):
    """mmengine's handler, without YAML's tags that call Python."""

    def load_from_fileobj(self, file, **kwargs) -> object:
        return super().load_from_fileobj(file, **{**kwargs, 'Loader': _SafeLoader})
