"""Write docs/licences.md: the licence of each package of requirements/ that is installed here."""

from __future__ import annotations

import re
import textwrap
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs/licences.md'
PIN = re.compile(r'^([a-z0-9][a-z0-9.-]*)==', re.MULTILINE)
GROUPS = {  # of `make` targets: who needs the packages
    'onedl': '## To train and predict: `make env`',
    'test': '## For tests, export, logs and this site: `make env-test` adds',
}
INTRODUCTION = """\
# Licences of what is installed

vil_mm itself is under the Apache License 2.0. `make env` and `make env-test` also install the
packages below, each with the licence that its own metadata states. `make pins` renews this page.
"""
ABSENT = """\
## Not installed where this page was made

These come with PyTorch for CUDA, or on other systems: see their pages on PyPI. NVIDIA's libraries
(`nvidia-*`, `cuda-*`) are under NVIDIA's own terms.
"""


def read_names(group: str) -> list[str]:
    """Names of the packages in ``requirements/<group>.txt``."""
    text = (ROOT / 'requirements' / f'{group}.txt').read_text(encoding='utf-8')
    return sorted(set(PIN.findall(text)))


def find(name: str) -> Distribution | None:
    """The installed package of that name."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def read_licence(package: Distribution) -> str:
    """The SPDX expression, else the classifiers, else the field ``License`` or its title."""
    meta = package.metadata
    if meta.get('License-Expression'):
        return meta['License-Expression']
    kinds = [x for x in meta.get_all('Classifier') or () if x.startswith('License ::')]
    names = [kind.split(' :: ')[-1] for kind in kinds]
    names = [name for name in names if name != 'OSI Approved']
    stated = [line.strip() for line in (meta.get('License') or 'not stated').strip().split('\n')]
    titles = [line for line in stated if 'license' in line.lower()]  # of a whole text
    return ', '.join(names) or (titles or stated)[0]


def write_table(names: list[str]) -> list[str]:
    """Lines of a table of installed packages."""
    lines = ['| package | version | licence |', '| --- | --- | --- |']
    for name in names:
        package = find(name)
        if package is not None:
            version = package.version.split('+')[0]  # not the build that this machine took
            lines.append(f'| {name} | {version} | {read_licence(package).replace("|", "/")} |')
    return lines


def main() -> None:
    parts, known = [INTRODUCTION], set()
    for group, title in GROUPS.items():
        names = [name for name in read_names(group) if name not in known]
        known.update(names)
        parts.append('\n'.join([title, '', *write_table(names), '']))
    absent = [f'`{name}`' for name in sorted(known) if find(name) is None]
    parts.append(f'{ABSENT}\n{textwrap.fill(", ".join(absent), 100, break_on_hyphens=False)}.\n')
    PAGE.write_text('\n'.join(parts), encoding='utf-8')
    print(f'licences: wrote {PAGE.relative_to(ROOT)}')


if __name__ == '__main__':
    main()
