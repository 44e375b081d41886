"""Find misspelt types and options of a config before anything is built."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator

import mmengine.registry
from mmengine.config import Config, ConfigDict
from mmengine.registry import Registry

from vil_mm.runs.option_names import find_names, is_wrong, resolve_type

PLACES = (
    'model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator',
    'test_evaluator', 'optim_wrapper', 'default_hooks', 'custom_hooks', 'param_scheduler',
    'train_cfg', 'val_cfg', 'test_cfg',
)  # fmt: skip
UNTYPED = (
    ['train_dataloader'], ['val_dataloader'], ['test_dataloader'], ['train_cfg'], ['val_cfg'],
    ['test_cfg'], ['optim_wrapper', 'clip_grad'],
)  # fmt: skip
OTHER_WORDS = ('Albu', 'Albumentations')  # they hold types of another package
# Similarity above which an unknown name counts as a typo: others may come from the user's own
# registry, or belong to the object that holds the dict.
ALIKE = 0.82


def check_spelling(cfg: Config) -> None:
    """Fail if the config names a type or option that looks like a typo.

    Types that accept any option pass, and so do scopes that are not imported.

    Raises:
        ValueError: Names the key and the closest known name.
    """
    for place in PLACES:
        if cfg.get(place):
            for path, node in _find_checkable([place], cfg[place]):
                _check_type(cfg, path, node)
                _check_options(cfg, path, node)


def _find_checkable(path: list[str], node: object) -> Iterator[tuple[list[str], ConfigDict]]:
    """Dicts whose keys may be known, with their paths."""
    if isinstance(node, dict):
        if isinstance(node.get('type'), str) or path in UNTYPED:
            yield path, node
        inner = () if node.get('type') in OTHER_WORDS else node.items()
    else:
        inner = enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in inner:
        yield from _find_checkable([*path, str(key)], value)


def _check_type(cfg: Config, path: list[str], node: ConfigDict) -> None:
    kind, scope = node.get('type'), node.get('_scope_') or cfg.get('default_scope') or 'mmengine'
    if not isinstance(kind, str) or '.' in kind or '/' in kind:
        return  # from another package
    if path[-1].endswith('_cfg') or resolve_type(kind, scope):
        return  # it exists, or is for a function with its own names
    known = _list_types(scope)
    close = difflib.get_close_matches(kind, known, 1, ALIKE)
    if close and kind not in known:
        raise ValueError(
            f'{".".join(path)}.type={kind!r}: no such class is registered; did you mean '
            f'{close[0]!r}?'
        )


def _list_types(scope: str) -> set[str]:
    """All types registered in a scope and in mmengine; none if the scope is not imported."""
    roots = [x for x in vars(mmengine.registry).values() if isinstance(x, Registry)]
    children = [root.children[scope] for root in roots if scope in root.children]
    if scope != 'mmengine' and not children:
        return set()
    own = [x for x in vars(sys.modules.get(f'{scope}.registry', sys)).values()]
    own = [x for x in own if isinstance(x, Registry)]  # some have no parent in mmengine
    return {name for registry in (*roots, *children, *own) for name in registry.module_dict}


def _check_options(cfg: Config, path: list[str], node: ConfigDict) -> None:
    names = find_names(cfg, path, node)
    for key in node:
        close = difflib.get_close_matches(str(key), sorted(names.known), 1, ALIKE)
        if close and is_wrong(str(key), names):
            kind = f' ({node.type})' if node.get('type') else ''
            raise ValueError(f'{".".join(path)}{kind} has no {key!r}: did you mean {close[0]!r}?')
