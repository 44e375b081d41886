"""Which keys a place in a config may have: the arguments of what is built from it, if known."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence

import mmengine.registry
import torch
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.nn import utils
from torch.utils.data import DataLoader


def _arguments(function: Callable) -> set[str]:
    return set(inspect.signature(function).parameters) - {'self', 'args', 'kwargs'}


# top-level keys that mmengine reads, and those of this package
RUN_KEYS = (_arguments(Runner.__init__) | _arguments(FlexibleRunner.__init__) - {'cfg'}) | {
    'custom_imports', 'find_unused_parameters', 'init_weights_for_test_or_val', 'log_to',
    'model_wrapper_cfg', 'protocols', 'runner_type', 'sync_bn', 'tta_model', 'tta_pipeline',
}  # fmt: skip
# taken out by mmengine before a class gets the rest
BUILD_KEYS = {'type', '_scope_', 'convert_to_iter_based', 'epoch_length', 'priority'}
SEGMENTORS = ('EncoderDecoder', 'CascadeEncoderDecoder', 'TiledEncoderDecoder')
PARAMWISE = {
    'bias_decay_mult', 'bias_lr_mult', 'bypass_duplicate', 'custom_keys', 'dcn_offset_lr_mult',
    'dwconv_decay_mult', 'flat_decay_mult', 'norm_decay_mult',
}  # fmt: skip


def type_name(node: dict) -> str | None:
    """What a dict of a config is to become."""
    kind = node.get('type')
    return kind if isinstance(kind, str) or kind is None else getattr(kind, '__name__', str(kind))


def names_in(cfg: Config, path: Sequence[str], node: dict) -> set[str] | None:
    """Keys that a dict of a config may have; None where that is not known, so that any is taken.

    Args:
        cfg: The config.
        path: Keys that lead to the dict; none for the config itself.
        node: The dict.
    """
    known = _names_of_place(cfg, '.'.join(path), node)
    if known is not None or not node.get('type'):
        return known
    more = {'constructor', 'paramwise_cfg'} if path[0] == 'optim_wrapper' else set()
    classes = _classes(node['type'], cfg.get('default_scope'))
    names = [option_names(kind) for kind in classes]
    return None if not names or None in names else set().union(BUILD_KEYS, more, *names)


def _names_of_place(cfg: Config, place: str, node: dict) -> set[str] | None:
    """Keys of the dicts without a type whose reader is known."""
    typed = node.get('type') is not None
    if not place:
        return RUN_KEYS
    if place in ('train_dataloader', 'val_dataloader', 'test_dataloader') and not typed:
        return _arguments(DataLoader.__init__) | {'num_batch_per_epoch'}
    if place in ('train_cfg', 'val_cfg', 'test_cfg') and not typed:
        loop = {'train': 'BasedTrainLoop', 'val': 'ValLoop', 'test': 'TestLoop'}[place[:-4]]
        epochs = 'Epoch' if node.get('by_epoch', True) else 'Iter'
        loop = epochs + loop if place == 'train_cfg' else loop
        classes = _classes(loop, None)
        return set().union({'by_epoch', 'type'}, *(option_names(x) or () for x in classes))
    if place == 'default_hooks':
        return {name for name, hook in node.items() if hook is None or 'type' in hook}
    if place == 'optim_wrapper.paramwise_cfg':
        constructor = cfg.optim_wrapper.get('constructor', 'DefaultOptimWrapperConstructor')
        return PARAMWISE if constructor == 'DefaultOptimWrapperConstructor' else None
    if place == 'model.test_cfg' and str(type_name(cfg.model)).split('.')[-1] in SEGMENTORS:
        return {'mode', 'crop_size', 'stride', 'batch_size'}
    return {
        'auto_scale_lr': {'base_batch_size', 'enable'},
        'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
        'env_cfg.mp_cfg': _arguments(set_multi_processing),
        'optim_wrapper.clip_grad': _arguments(utils.clip_grad_norm_)
        | _arguments(utils.clip_grad_value_)
        | {'type'},
        'randomness': _arguments(Runner.set_randomness),
    }.get(place)


def _classes(kind: object, scope: str | None) -> list[Callable]:
    """What a type stands for, in every registry that has one of that name."""
    if not isinstance(kind, str):
        return [kind] if callable(kind) else []
    found = []
    for registry in vars(mmengine.registry).values():
        if isinstance(registry, Registry):
            with registry.switch_scope_and_registry(scope or 'mmengine') as scoped:
                try:
                    found.append(scoped.get(kind))
                except (ImportError, KeyError):
                    continue
    return [x for x in found if x is not None]


def option_names(kind: Callable) -> set[str] | None:
    """Names of the arguments that a class takes, those that it hands on to its parents included.

    None where they cannot be known: it takes ``**kwargs`` and gives them to something else.
    """
    if not inspect.isclass(kind):
        return _signature(kind)[0] if _signature(kind)[1] is None else None
    names = set()
    for base in kind.__mro__[:-1]:
        start = vars(base).get('__init__')
        if start is None:
            continue
        try:
            own, rest = _signature(start)
            names |= own
            to_parent = rest is not None and _goes_to_parent(start, rest)
        except (OSError, TypeError, ValueError, SyntaxError):  # no source, or not in Python
            return None
        if to_parent is None:
            return None
        if not to_parent:
            break
    return names


def _signature(function: Callable) -> tuple[set[str], str | None]:
    """Names of a function's arguments and of its ``**kwargs``."""
    parameters = inspect.signature(function).parameters.values()
    named = {x.name for x in parameters if x.kind in (x.POSITIONAL_OR_KEYWORD, x.KEYWORD_ONLY)}
    rest = [x.name for x in parameters if x.kind is x.VAR_KEYWORD]
    return named - {'self'}, rest[0] if rest else None


def _goes_to_parent(start: Callable, rest: str) -> bool | None:
    """Whether ``**rest`` goes to a parent's ``__init__``: True, False for nowhere, else None."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(start))))
    uses = sum(isinstance(x, ast.Name) and x.id == rest for x in ast.walk(tree))
    calls = [x for x in ast.walk(tree) if isinstance(x, ast.Call) and _is_init(x.func)]
    passed = [
        pair
        for call in calls
        for pair in call.keywords
        if pair.arg is None and isinstance(pair.value, ast.Name) and pair.value.id == rest
    ]
    return bool(uses) if uses == len(passed) else None


def _is_init(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr == '__init__'
