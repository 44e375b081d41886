"""Supported versions of OpenMMLab packages, and a check of the installed ones."""

import importlib
import re
import warnings
from importlib import metadata
from importlib.util import find_spec
from typing import NamedTuple


class Supported(NamedTuple):
    """Versions from `low` up to, but excluding, `high`, under any of the distribution names."""

    low: str
    high: str
    distributions: tuple[str, ...]


SUPPORTED = {
    'mmengine': Supported('0.10.7', '0.12', ('onedl-mmengine', 'mmengine')),
    'mmcv': Supported('2.1', '2.4', ('onedl-mmcv', 'mmcv')),
    'mmseg': Supported('1.2.2', '1.5', ('onedl-mmsegmentation', 'mmsegmentation')),
    'mmpretrain': Supported('1.2', '1.4', ('onedl-mmpretrain', 'mmpretrain')),
}


def check_stack() -> None:
    """Check the installed OpenMMLab packages; warn once about all unsupported versions.

    Raises:
        ImportError: A package is missing.
    """
    missing = [module for module in SUPPORTED if find_spec(module) is None]
    if missing:
        raise ImportError(
            f'vil_mm needs {", ".join(missing)}, which is not installed. '
            "Install the OpenMMLab packages with: pip install 'vil_mm[onedl]'"
        )
    remarks = [remark for module in SUPPORTED if (remark := _remark_on(module))]
    if remarks:
        warnings.warn(f'vil_mm: {"; ".join(remarks)}', stacklevel=2)


def installed_version(module: str) -> str:
    """A package's version, from its metadata to avoid a slow import."""
    for distribution in SUPPORTED[module].distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return importlib.import_module(module).__version__  # a source tree on the path


def _remark_on(module: str) -> str | None:
    version, supported = installed_version(module), SUPPORTED[module]
    if _release(supported.low) <= _release(version) < _release(supported.high):
        return None
    return f'{module} {version} is outside the supported range >={supported.low},<{supported.high}'


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: '0.11.0rc3' gives (0, 11, 0), '2.4' (2, 4, 0)."""
    numbers = re.match(r'\d+(\.\d+)*', version)
    if numbers is None:
        return (0, 0, 0)
    parts = [int(part) for part in numbers.group().split('.')]
    return tuple((parts + [0, 0, 0])[:3])
