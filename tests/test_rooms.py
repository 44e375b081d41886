"""The rooms of the package: what imports what. A room imports only rooms below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From the lowest to the highest. Rooms of one line may import each other, but not in a circle.
FLOORS = (
    {'errors', 'files', 'progress', 'quiet', 'torchvision_compat', 'version', 'versions', 'zoo'},
    {'mlstm'},
    {'layers'},
    {'checkpoints'},
    {'models', 'datasets', 'engine', 'evaluation'},
    {'runs'},
    {'pictures', 'measure', 'export', 'apis', 'own_data'},
    {'__main__', ''},  # '' is vil_mm/__init__.py
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


class Import(NamedTuple):
    """A module, one that it imports from, and the name that it takes; '' for the module itself."""

    module: str
    target: str
    name: str


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


SOURCES = {module_name(path): path for path in sorted((ROOT / 'vil_mm').rglob('*.py'))}


def find_imports(module: str, source: str, modules: set[str]) -> Iterator[Import]:
    """Imports of this package's modules, those inside functions and of type checks as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split('.')[0] == 'vil_mm':
                    yield Import(module, alias.name, '')
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{module}: relative import'
            if (node.module or '').split('.')[0] == 'vil_mm':
                for alias in node.names:
                    inner = f'{node.module}.{alias.name}'
                    is_module = inner in modules
                    yield Import(
                        module, inner if is_module else node.module, '' if is_module else alias.name
                    )


IMPORTS = [
    found
    for module, path in SOURCES.items()
    for found in find_imports(module, path.read_text(encoding='utf-8'), set(SOURCES))
]


def room(module: str) -> str:
    return module.split('.')[1] if '.' in module else ''


def find_circle(edges: set[tuple[str, str]]) -> list[str] | None:
    graph: dict[str, set[str]] = {}
    for start, end in edges:
        graph.setdefault(start, set()).add(end)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return None


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in SOURCES} == set(FLOOR)


def test_no_arrow_upward() -> None:
    upward = [
        f'{x.module} imports {x.name or "the module"} from {x.target}'
        for x in IMPORTS
        if FLOOR[room(x.target)] > FLOOR[room(x.module)]
    ]
    assert not upward, '\n'.join(upward)


def test_no_circle_of_rooms() -> None:
    edges = {(room(x.module), room(x.target)) for x in IMPORTS}
    assert find_circle({(a, b) for a, b in edges if a != b}) is None


@pytest.mark.parametrize('name', sorted(FLOOR))
def test_no_circle_within_a_room(name: str) -> None:
    inside = {(x.module, x.target) for x in IMPORTS if room(x.module) == room(x.target) == name}
    assert find_circle(inside) is None


def test_no_private_name_of_another_room() -> None:
    private = [
        f'{x.module} takes {x.name} from {x.target}'
        for x in IMPORTS
        if room(x.module) != room(x.target) and x.name.startswith('_') and x.name[:2] != '__'
    ]
    assert not private, '\n'.join(private)


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import vil_mm.files
from vil_mm.mlstm import mlstm, cost as c
def f():
    from vil_mm.layers.fused import gate
    import torch
"""
    modules = {'vil_mm.mlstm.cost', 'vil_mm.layers.fused.gate'}
    assert list(find_imports('x', source, modules)) == [
        Import('x', 'vil_mm.files', ''),
        Import('x', 'vil_mm.mlstm', 'mlstm'),
        Import('x', 'vil_mm.mlstm.cost', ''),
        Import('x', 'vil_mm.layers.fused.gate', ''),
    ]
    assert find_circle({('a', 'b'), ('b', 'c'), ('c', 'a')}) is not None
    assert find_circle({('a', 'b'), ('a', 'c'), ('b', 'c')}) is None
