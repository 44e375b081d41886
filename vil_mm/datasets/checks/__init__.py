"""Checks of data sets: those that a config reads, and known data sets on disk.

Of a config, before a run: ``check`` looks at one data set (``names``, ``pairs``, ``masks``,
``labels``), ``splits`` compares the training set with the others; during the run ``at_loading``
names files that fail. ``vil_mm.runs.data`` applies them. On disk, without a config: ``tree``,
``known_sets`` and ``files`` compare the folders of a published data set with what they should hold
(``tools/prepare_data.py``).
"""

from vil_mm.datasets.checks.at_loading import BadFileError, CheckedLoading, mask_loader, name_files
from vil_mm.datasets.checks.check import SAMPLE, check_part
from vil_mm.datasets.checks.findings import SplitReport
from vil_mm.datasets.checks.parts import Expected, Part
from vil_mm.datasets.checks.splits import check_splits

__all__ = [
    'SAMPLE',
    'BadFileError',
    'CheckedLoading',
    'Expected',
    'Part',
    'SplitReport',
    'check_part',
    'check_splits',
    'mask_loader',
    'name_files',
]
