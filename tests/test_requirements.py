"""requirements/ against constraints.txt and setup.py. `make pins` writes it, from the network."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r'^([a-z0-9][a-z0-9.-]*)==([^ ;\n]+)', re.MULTILINE)
GROUPS = {'onedl': ('onedl',), 'test': ('onedl', 'test')}  # and the extras in each


def read_blocks(group: str) -> dict[str, str]:
    """Version and hashes of each package, by name; several versions are joined."""
    text = (ROOT / 'requirements' / f'{group}.txt').read_text()
    blocks: dict[str, str] = {}
    for block in re.split(r'\n(?=[a-z0-9])', text):
        if pin := PIN.match(block):
            blocks[pin[1]] = blocks.get(pin[1], '') + block
    return blocks


@pytest.mark.parametrize('group', GROUPS)
def test_every_package_has_hashes_of_files_on_the_public_index(group: str) -> None:
    text = (ROOT / 'requirements' / f'{group}.txt').read_text()
    for block in re.split(r'\n(?=[a-z0-9])', text)[1:]:
        assert PIN.match(block) and '--hash=sha256:' in block, block
        assert '+' not in PIN.match(block)[2], f'a build of one machine: {block}'
    assert '://' not in text, 'no index, file or folder'


def test_versions_are_those_of_the_constraints() -> None:
    pinned = read_blocks('test')
    for name, version in PIN.findall((ROOT / 'constraints.txt').read_text()):
        assert f'{name}=={version}' in pinned[name], 'run `make pins`'


def test_runs_need_a_part_of_what_tests_need() -> None:
    runs, tests = read_blocks('onedl'), read_blocks('test')
    for name, block in runs.items():
        found = re.findall(r'^\S+==\S+|sha256:\w+', block)
        assert found and all(part in tests[name] for part in found), name


@pytest.mark.parametrize('group', GROUPS)
def test_all_that_setup_names_is_pinned(group: str) -> None:
    pinned = read_blocks(group)
    for requirement in requires('vil_mm'):
        name = re.match(r'[A-Za-z0-9._-]+', requirement)[0].lower().replace('_', '-')
        extra = re.search(r'extra == ["\'](\w+)["\']', requirement)
        if extra is None or extra[1] in GROUPS[group]:
            assert name in pinned, f'{requirement}: run `make pins`'


def test_licences_are_listed_for_every_package() -> None:
    page = (ROOT / 'docs/licences.md').read_text()
    for name in read_blocks('test'):
        assert f'| {name} |' in page or f'`{name}`' in page, f'{name}: run `make pins`'
