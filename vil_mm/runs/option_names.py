"""Known keys of a dict in a config: the arguments of what is built from it."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

import mmengine.registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.nn import utils
from torch.utils.data import DataLoader


def _arguments(function: Callable) -> set[str]:
    return set(inspect.signature(function).parameters) - {'self', 'args', 'kwargs'}


# top-level keys read by mmengine and this package
RUN_KEYS = (_arguments(Runner.__init__) | _arguments(FlexibleRunner.__init__)) - {'cfg'} | {
    'custom_imports', 'find_unused_parameters', 'init_weights_for_test_or_val', 'log_to',
    'model_wrapper_cfg', 'protocols', 'runner_type', 'sync_bn', 'tta_model', 'tta_pipeline',
}  # fmt: skip
# mmengine removes these before it builds a class
BUILD_KEYS = {'type', '_scope_', 'convert_to_iter_based', 'epoch_length', 'priority'}
SEGMENTORS = ('EncoderDecoder', 'CascadeEncoderDecoder', 'TiledEncoderDecoder')
# read by the function that builds it, and by the wrappers of mixed precision
OPTIM_WRAPPER = {'constructor', 'paramwise_cfg', 'loss_scale', 'dtype', 'use_fsdp'}
PARAMWISE = {
    'bias_decay_mult', 'bias_lr_mult', 'bypass_duplicate', 'custom_keys', 'dcn_offset_lr_mult',
    'dwconv_decay_mult', 'flat_decay_mult', 'norm_decay_mult',
}  # fmt: skip
ALIKE = 0.9  # similarity to a known key above which an unknown one counts as a typo


def type_name(node: dict) -> str | None:
    """The name of a dict's type."""
    kind = node.get('type')
    return kind if isinstance(kind, str) or kind is None else getattr(kind, '__name__', str(kind))


class Names(NamedTuple):
    """Keys that a dict of a config may have.

    Attributes:
        known: The known keys.
        open: Whether other keys may be valid, too.
    """

    known: set[str]
    open: bool = False


def find_names(cfg: Config, path: Sequence[str], node: dict) -> Names:
    """Find the keys that a dict of a config may have.

    Args:
        cfg: The config.
        path: Keys that lead to the dict; empty for the config itself.
        node: The dict.
    """
    known = _find_untyped_names(cfg, '.'.join(path), node)
    if known is not None:
        return Names(known)
    classes = resolve_type(node['type'], cfg.get('default_scope')) if node.get('type') else []
    names = [find_arguments(kind) for kind in classes]
    more = OPTIM_WRAPPER if list(path) == ['optim_wrapper'] else set()
    known = set().union(more, *(x.known for x in names))
    function = path[-1].endswith('_cfg')  # as norm_cfg: mmcv's functions read some keys themselves
    return Names(known, function or not names or any(x.open for x in names))


def is_wrong(part: str, names: Names) -> bool:
    """Whether a key is probably wrong: nothing reads it, or it looks like a typo."""
    if part in names.known or part in BUILD_KEYS:
        return False
    return not names.open or bool(difflib.get_close_matches(part, names.known, 1, ALIKE))


def _find_untyped_names(cfg: Config, place: str, node: dict) -> set[str] | None:
    """Keys of a dict that is read without being built; None if it is not such a dict."""
    typed = node.get('type') is not None
    if not place:
        return RUN_KEYS
    if place in ('train_dataloader', 'val_dataloader', 'test_dataloader') and not typed:
        return _arguments(DataLoader.__init__) | {'num_batch_per_epoch'}
    if place in ('train_cfg', 'val_cfg', 'test_cfg') and not typed:
        loop = {'train': 'BasedTrainLoop', 'val': 'ValLoop', 'test': 'TestLoop'}[place[:-4]]
        epochs = 'Epoch' if node.get('by_epoch', True) else 'Iter'
        loop = epochs + loop if place == 'train_cfg' else loop
        classes = resolve_type(loop, None)
        return set().union({'by_epoch', 'type'}, *(find_arguments(x).known for x in classes))
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


def resolve_type(kind: object, scope: str | None) -> list[Callable]:
    """The classes and functions that a type may name, from all registries."""
    if not isinstance(kind, str):
        return [kind] if callable(kind) else []
    roots = [x for x in vars(mmengine.registry).values() if isinstance(x, Registry)]
    scope = scope or 'mmengine'
    if scope != 'mmengine' and not any(scope in root.children for root in roots):
        return []  # not imported; other scopes may use the same name
    found = [root.children.get(scope, root).get(kind) for root in roots]
    return [x for x in found if x is not None]


def find_arguments(kind: Callable) -> Names:
    """Find the arguments of a class or function, including those passed on to parents.

    The result is open if ``**kwargs`` go anywhere else.
    """
    if not inspect.isclass(kind):
        own, rest = _signature(kind)
        return Names(own, rest is not None)
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
            return Names(names, open=True)
        if to_parent is None:
            return Names(names, open=True)
        if not to_parent:
            break
    return Names(names)


def _signature(function: Callable) -> tuple[set[str], str | None]:
    """Names of a function's arguments, and the name of its ``**kwargs``."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {x.name for x in parameters if x.kind in kinds}
    rest = [x.name for x in parameters if x.kind is x.VAR_KEYWORD]
    return named - {'self'}, rest[0] if rest else None


def _goes_to_parent(start: Callable, rest: str) -> bool | None:
    """Whether ``**rest`` goes to a parent's ``__init__``; None if it goes anywhere else."""
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
