"""Checks of a data set before a run: its files, some of its images and masks, its labels.

``check`` checks one data set, ``splits`` compares the training set with the others, and
``at_loading`` names files that fail during a run. ``vil_mm.runs.data`` applies all of them to a
config.
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
