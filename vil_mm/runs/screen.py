"""Keep the screen output of a run short: progress and warnings. The log file has everything."""

from __future__ import annotations

import logging
import os
import warnings

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from vil_mm.quiet import without_lines
from vil_mm.runs.host import stop_without_log

# first words of messages that go to the log file only
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
    # from mmseg, whenever a run does not draw pictures
    'The draw is False, it means that the hook for visualization',
    # from mmcv, for each worker that jitters colours the way mmpretrain does
    "Only use 'alpha' for pillow backend",
    # from mmengine, about an option that it sets itself
    '`broadcast_buffers` is deprecated',
)
# Array types in a checkpoint's log history. Without them, mmengine falls back to unsafe loading of
# its own checkpoints, with a long warning.
ARRAY_TYPES = [type(np.dtype(kind)) for kind in ('bool', 'int32', 'int64', 'float32', 'float64')]

_RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def is_first_process(cfg: Config) -> bool:
    """Whether this process prints; works before the processes are connected."""
    return os.environ.get(_RANKS.get(cfg.get('launcher', 'none'), ''), '0') == '0'


def shorten_screen(logger: MMLogger) -> None:
    """Send ``FILE_ONLY`` messages to the log file only, if there is one, and name the file."""
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    if not files:
        return
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(_is_for_screen)
    logger.info(f'Environment, config and all else that is logged: {files[0].baseFilename}')


def _is_for_screen(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(FILE_ONLY)


class ShortScreen:
    """Mix-in for mmengine's runners: prints less at the start of a run."""

    def _log_env(self, *args) -> None:
        stop_without_log(self.logger)
        shorten_screen(self.logger)
        for message in WARNINGS:  # for the whole program, so that workers inherit it
            warnings.filterwarnings('ignore', message=message)
        super()._log_env(*args)

    def load_or_resume(self) -> None:
        """Load the config's checkpoint, which was already checked to hold only data."""
        with (
            torch.serialization.safe_globals(ARRAY_TYPES),
            without_lines('Loads checkpoint by local backend'),  # "Load checkpoint from" follows
        ):
            super().load_or_resume()
