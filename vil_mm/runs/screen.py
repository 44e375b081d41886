"""What a run shows on the screen: progress and what needs a look. The log file has everything."""

from __future__ import annotations

import logging
import os
import warnings

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import FlexibleRunner, Runner

from vil_mm.quiet import without_lines
from vil_mm.runs.parts import NamedParts

# beginnings of mmengine's messages, and of our own tables, that are for the log file alone
FILE_ONLY = (
    f'\n{60 * "-"}\nSystem environment:',
    'Config:\n',
    'Distributed training is not used, all SyncBatchNorm',
    'Hooks will be executed in the following order',
    'paramwise_options -- ',
    'Parameter groups:',
    'The prefix is not set in metric class',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Exp name: ',
    'Traceback (most recent call last)',
)
WARNINGS = (
    # mmseg's, at every start of a run that draws nothing, as it was asked
    'The draw is False, it means that the hook for visualization',
    # mmcv's, for each worker that jitters colours as mmpretrain asks it to
    "Only use 'alpha' for pillow backend",
    # mmengine's, of an option that it sets itself
    '`broadcast_buffers` is deprecated',
)
# Types of arrays in a checkpoint's log history. With them mmengine reads what it has written itself
# without running code from it; without, it says at length that it will, and does.
ARRAY_TYPES = [type(np.dtype(kind)) for kind in ('bool', 'int32', 'int64', 'float32', 'float64')]

_RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def is_first_process(cfg: Config) -> bool:
    """Whether this process of a run prints; known before the processes are connected."""
    return os.environ.get(_RANKS.get(cfg.get('launcher', 'none'), ''), '0') == '0'


def shorten_screen(logger: MMLogger) -> None:
    """Keep ``FILE_ONLY`` off the screen if there is a file that gets it; name the file."""
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    if not files:
        return
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(_for_the_screen)
    logger.info(f'Environment, config and all else that is logged: {files[0].baseFilename}')


def _for_the_screen(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(FILE_ONLY)


class ShortScreen:
    """Mixed into one of mmengine's runners: what it says at its start is shorter, see above."""

    def _log_env(self, *args) -> None:
        shorten_screen(self.logger)
        for message in WARNINGS:  # to the end of the program: workers that load data inherit them
            warnings.filterwarnings('ignore', message=message)
        super()._log_env(*args)

    def load_or_resume(self) -> None:
        """Load what the config names, by now checked to hold nothing but data; see mmengine."""
        with (
            torch.serialization.safe_globals(ARRAY_TYPES),
            without_lines('Loads checkpoint by local backend'),  # "Load checkpoint from" follows
        ):
            super().load_or_resume()


class ShortRunner(NamedParts, ShortScreen, Runner):
    """mmengine's ``Runner`` with a short screen."""


class ShortFlexibleRunner(NamedParts, ShortScreen, FlexibleRunner):
    """mmengine's ``FlexibleRunner`` with a short screen."""
