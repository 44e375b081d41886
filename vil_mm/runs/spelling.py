"""Misspelt types and options of a config file, which building them would end on."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator

import mmengine.registry
from mmengine.config import Config, ConfigDict
from mmengine.registry import Registry

from vil_mm.runs.option_names import classes_of_type, is_wrong, names_in

PLACES = (
    'model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator',
    'test_evaluator', 'optim_wrapper', 'default_hooks', 'custom_hooks', 'param_scheduler',
    'train_cfg', 'val_cfg', 'test_cfg',
)  # fmt: skip
UNTYPED = (
    ['train_dataloader'], ['val_dataloader'], ['test_dataloader'], ['train_cfg'], ['val_cfg'],
    ['test_cfg'], ['optim_wrapper', 'clip_grad'],
)  # fmt: skip
OTHER_WORDS = ('Albu', 'Albumentations')  # what they hold has types of another package
# Of names that are not known: they may be of a registry of the user's own, or an option may be for
# what holds the dict.
ALIKE = 0.82


def check_spelling(cfg: Config) -> None:
    """Fail if a type that the config names does not exist, or does not take an option it is given.

    Only names that are all but another one are refused. What takes any option passes, and so do
    scopes that are not imported.

    Raises:
        ValueError: Names the place, and the nearest name that there is.
    """
    for place in PLACES:
        if cfg.get(place):
            for path, node in _typed([place], cfg[place]):
                _check_type(cfg, path, node)
                _check_options(cfg, path, node)


def _typed(path: list[str], node: object) -> Iterator[tuple[list[str], ConfigDict]]:
    """Dicts whose keys may be known, with the keys that lead to them."""
    if isinstance(node, dict):
        if isinstance(node.get('type'), str) or path in UNTYPED:
            yield path, node
        inner = () if node.get('type') in OTHER_WORDS else node.items()
    else:
        inner = enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in inner:
        yield from _typed([*path, str(key)], value)


def _check_type(cfg: Config, path: list[str], node: ConfigDict) -> None:
    kind, scope = node.get('type'), node.get('_scope_') or cfg.get('default_scope') or 'mmengine'
    if not isinstance(kind, str) or '.' in kind or '/' in kind:
        return  # of another package
    if path[-1].endswith('_cfg') or classes_of_type(kind, scope):
        return  # there is one, or a function has words of its own
    known = _names(scope)
    close = difflib.get_close_matches(kind, known, 1, ALIKE)
    if close and kind not in known:
        raise ValueError(
            f'{".".join(path)}.type={kind!r}: no such class is registered; did you mean '
            f'{close[0]!r}?'
        )


def _names(scope: str) -> set[str]:
    """All that is registered in a scope and in mmengine's own; none if it is not imported."""
    roots = [x for x in vars(mmengine.registry).values() if isinstance(x, Registry)]
    children = [root.children[scope] for root in roots if scope in root.children]
    if scope != 'mmengine' and not children:
        return set()
    own = [x for x in vars(sys.modules.get(f'{scope}.registry', sys)).values()]
    own = [x for x in own if isinstance(x, Registry)]  # some have no parent in mmengine
    return {name for registry in (*roots, *children, *own) for name in registry.module_dict}


def _check_options(cfg: Config, path: list[str], node: ConfigDict) -> None:
    names = names_in(cfg, path, node)
    for key in node:
        close = difflib.get_close_matches(str(key), sorted(names.known), 1, ALIKE)
        if close and is_wrong(str(key), names):
            kind = f' ({node.type})' if node.get('type') else ''
            raise ValueError(f'{".".join(path)}{kind} has no {key!r}: did you mean {close[0]!r}?')
