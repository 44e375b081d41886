"""Merge overrides, ``a.b.c=value``, into a config; reject those without effect."""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config, ConfigDict

from vil_mm.runs.option_names import RUN_KEYS, Names, find_names, is_wrong, type_name

DELETE = '_delete_'  # mmengine's key to replace a dict instead of merging
SHOWN = 4  # keys listed in a message


def merge_overrides(cfg: Config, options: Mapping[str, object]) -> None:
    """Merge overrides into a config, in place.

    A dict is merged into a dict and replaces any other value. ``data_root`` changes every path
    inside the folder named by the config's variable ``data_root``.

    Args:
        cfg: As read from its file.
        options: For example ``{'optim_wrapper.optimizer.lr': 1e-4}``; list entries by number.

    Raises:
        ValueError: A key is unknown (the message suggests the closest one), goes through a value
            without keys, or is a variable that is not read after the file was.
    """
    if 'data_root' in options and 'data_root' in cfg:
        _move_data(cfg, options['data_root'])
        options = {key: value for key, value in options.items() if key != 'data_root'}
    before = copy.deepcopy(cfg._cfg_dict)
    for key, value in options.items():
        if _is_variable(cfg, key.split('.')[0]):
            raise ValueError(_suggest_keys(cfg, key))
        cfg.merge_from_dict({key: _prepare_value(cfg, key, value)})
    for key, value in options.items():
        for path in _leaves(key.split('.'), value):
            _check_is_read(cfg, before, path)


def _prepare_value(cfg: Config, key: str, value: object) -> object:
    """The value in the form that mmengine merges correctly; replaces None on the path by a dict.

    Raises:
        ValueError: The path goes through a value without keys, or beyond the end of a list.
    """
    node, parts = cfg._cfg_dict, key.split('.')
    for i, part in enumerate(parts[:-1]):
        if isinstance(node, dict) and node.get(part, 0) is None:
            node[part] = ConfigDict()
        node = _get_entry(node, part, '.'.join(parts[:i]), key)
        if node is None:
            break  # a new dict
    old = None if node is None else _get_entry(node, parts[-1], '.'.join(parts[:-1]), key)
    if not isinstance(value, dict):
        return value
    value, replace = dict(value), value.get(DELETE, False)
    value.pop(DELETE, None)
    indexed = isinstance(old, list) and all(str(x).isdigit() for x in value)
    exists = isinstance(node, list) or (node is not None and parts[-1] in node)
    if exists and not (indexed or isinstance(old, dict)):
        replace = True
    return ConfigDict({**value, DELETE: True} if replace and exists else value)


def _get_entry(node: object, part: str, at: str, key: str) -> object | None:
    """The entry of a dict or list under a part of a key; None if there is none."""
    if isinstance(node, dict):
        return node.get(part)
    if isinstance(node, list):
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        raise ValueError(
            f'{key}: {at} is a list with entries 0 to {len(node) - 1}, so {part!r} does not exist'
        )
    raise ValueError(
        f'{key}: {at} is {node!r}, which has no keys; override all of it, {at}="dict({part}=...)"'
    )


def _leaves(path: list[str], value: object) -> Iterator[list[str]]:
    """Paths of all values in an override, which may be a dict."""
    inner = [key for key in value if key != DELETE] if isinstance(value, Mapping) else ()
    if not inner:
        yield path
    for key in inner:
        yield from _leaves([*path, str(key)], value[key])


def _check_is_read(cfg: Config, before: ConfigDict, path: list[str]) -> None:
    """Raise ValueError if a key of the path is new and nothing would read it."""
    new, old = cfg._cfg_dict, before
    for i, part in enumerate(path):
        if isinstance(new, list):
            new, old = new[int(part)], _get_old(old, part)
            continue
        if not isinstance(new, dict):
            return  # replaced by a later override
        if part not in (old or ()) and is_wrong(part, names := find_names(cfg, path[:i], new)):
            raise ValueError(_describe_unknown(cfg, path, i, names, new))
        new, old = new.get(part), _get_old(old, part)


def _get_old(node: object, part: str) -> object | None:
    if isinstance(node, list):  # a dict may have replaced it
        return node[int(part)] if part.isdigit() and int(part) < len(node) else None
    return node.get(part) if isinstance(node, dict) else None


def _describe_unknown(cfg: Config, path: list[str], i: int, names: Names, node: dict) -> str:
    """The message about ``path[i]``, with the key probably meant."""
    part, at, key = path[i], '.'.join(path[:i]), '.'.join(path)
    known = sorted({*names.known, *(str(other) for other in node if other != part)})
    elsewhere = [x for x in _find_ending(cfg, '.'.join(path[i:])) if x != key]
    close = difflib.get_close_matches(part, known, n=1)
    if elsewhere and not (close and path[i + 1 :]):
        hint = f'did you mean {_list_keys(elsewhere)}?'
    elif close:
        hint = f'did you mean {".".join([*path[:i], close[0], *path[i + 1 :]])}?'
    else:
        hint = f'it has {", ".join(known)}'
    kind = type_name(node) if path[:i] else None
    owner = f'{at} ({kind})' if kind else at or 'the config'
    return f'{key}: {owner} has no {part!r}; {hint}'


def _find_ending(cfg: Config, key: str) -> list[str]:
    """Keys of the config that are read and end with this one."""
    places = [
        '.'.join(path) for top in cfg if top in RUN_KEYS for path, _ in _walk([top], cfg[top])
    ]
    return [place for place in places if f'.{place}'.endswith(f'.{key}')]


def _list_keys(places: list[str], rest: str = '') -> str:
    more = f' and {len(places) - SHOWN} more' if len(places) > SHOWN else ''
    return ', '.join(place + rest for place in places[:SHOWN]) + more


# ------------------------------------------------------------------------------- config variables


def _is_variable(cfg: Config, name: str) -> bool:
    """Whether a key is a variable that only the file itself reads.

    Other unknown keys may be read by the user's own code.
    """
    if name not in cfg or name in RUN_KEYS:
        return False
    return name in _find_used_names(cfg.text) or bool(_find_copies(cfg, name, exact=True))


def _find_used_names(text: str) -> set[str]:
    """Names that a config and its bases read, including ``_base_.name``."""
    lines = [x for x in text.splitlines() if not (x.endswith('.py') and Path(x).is_file())]
    try:
        nodes = list(ast.walk(ast.parse('\n'.join(lines))))
    except SyntaxError:  # JSON or YAML, which has no variables
        return set()
    used = {x.id for x in nodes if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}
    return used | {x.attr for x in nodes if isinstance(x, ast.Attribute) and _is_base(x.value)}


def _is_base(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == '_base_'


def _find_copies(cfg: Config, name: str, exact: bool = False) -> list[str]:
    """Keys that are read and hold a variable's value; ``exact`` excludes chance matches."""
    value = cfg[name]
    distinctive = isinstance(value, dict | list | tuple) and len(value) > 2
    return [
        '.'.join(path)
        for top in cfg
        if top in RUN_KEYS
        for path, other in _walk([top], cfg[top])
        if (path[-1] == name or distinctive or not exact) and _equal(value, other)
    ]


def _walk(path: list[str], value: object) -> Iterator[tuple[list[str], object]]:
    yield path, value
    if isinstance(value, dict):
        for key in value:
            yield from _walk([*path, str(key)], value[key])
    elif isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            yield from _walk([*path, str(i)], entry)


def _equal(a: object, b: object) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return list(a) == list(b)
    return type(a) is type(b) and a == b


def _suggest_keys(cfg: Config, key: str) -> str:
    name, dot, rest = key.partition('.')
    places = _find_copies(cfg, name) or _find_ending(cfg, name)
    remedy = f'override {_list_keys(places, dot + rest)}' if places else 'change it in the file'
    return (
        f'{key}: {name} is a variable of the config file, which is evaluated before overrides are '
        f'merged; {remedy}'
    )


def describe_lost_data_root(cfg: Config) -> str:
    """A warning if a file sets ``data_root`` but its data sets keep that of a base; else ''."""
    new, roots = cfg.get('data_root'), []
    if not {'_base_', 'data_root'} <= _find_assigned_names(Path(cfg.filename)):
        return ''
    for split in ('train', 'val', 'test'):
        loader = copy.deepcopy((cfg.get(f'{split}_dataloader') or {}).get('dataset'))
        if isinstance(new, str) and loader and _move_paths(loader, new.rstrip('/'), ''):
            return ''
        roots += [loader.data_root] if loader and loader.get('data_root') else []
    if not isinstance(new, str) or not roots:
        return ''
    return (
        f'data_root={new!r} has no effect, the data sets read {roots[0]!r}: set '
        'train_dataloader=dict(dataset=dict(data_root=data_root)), and likewise for val and test'
    )


def _find_assigned_names(file: Path) -> set[str]:
    """Variables that a config file sets, without its bases."""
    if file.suffix != '.py':
        return set()
    nodes = [x for x in ast.parse(file.read_text('utf-8')).body if isinstance(x, ast.Assign)]
    return {target.id for x in nodes for target in x.targets if isinstance(target, ast.Name)}


def _move_data(cfg: Config, new: object) -> None:
    """Replace the config's ``data_root`` in all paths inside it.

    Raises:
        ValueError: No key that is read holds such a path.
    """
    old = str(cfg.data_root).rstrip('/')
    read = [cfg[top] for top in cfg if top in RUN_KEYS]
    if not old or not sum(_move_paths(value, old, str(new).rstrip('/') or '/') for value in read):
        raise ValueError(_suggest_keys(cfg, 'data_root'))
    cfg.data_root = new


def _move_paths(node: object, old: str, new: str) -> int:
    """Replace a folder at the start of all strings in a dict or list; returns their number."""
    if not isinstance(node, dict | list):
        return 0
    count = 0
    for key in node if isinstance(node, dict) else range(len(node)):
        value = node[key]
        if isinstance(value, str) and (value.rstrip('/') == old or value.startswith(f'{old}/')):
            node[key], count = new + value[len(old) :], count + 1
        else:
            count += _move_paths(value, old, new)
    return count
