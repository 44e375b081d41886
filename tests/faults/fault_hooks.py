"""Hooks for the configs of this folder: they wait, send signals, and spoil gradients."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class StallHook(Hook):
    """Writes the file ``pid<rank>`` before the fourth iteration, and waits for ``go_on``."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 3 and not Path('go_on').exists():
            Path('.pid').write_text(str(os.getpid()))
            Path('.pid').rename(f'pid{get_rank()}')
            while not Path('go_on').exists():
                time.sleep(0.02)


@HOOKS.register_module()
class SignalHook(Hook):
    """Sends this process SIGTERM at an iteration of training or at one of validation."""

    def __init__(self, moment: str, iteration: int) -> None:
        self.moment, self.iteration = moment, iteration

    def _signal(self, runner, moment: str) -> None:
        if moment == self.moment and runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._signal(runner, 'train')

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._signal(runner, 'val')


@HOOKS.register_module()
class NanHook(Hook):
    """One process's gradient of a parameter is NaN at an iteration, counted from 0."""

    def __init__(self, rank: int, iteration: int) -> None:
        self.rank, self.iteration = rank, iteration

    def before_train(self, runner) -> None:
        def spoil(gradient):
            spoils = get_rank() == self.rank and runner.iter == self.iteration
            return gradient * float('nan') if spoils else gradient

        weight = next(x for x in runner.model.parameters() if x.requires_grad)
        weight.register_hook(spoil)
