"""Checkpoints of finite numbers only, and none while updates are being skipped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor

from vil_mm.engine.optim import SkipNonFinite, total_norm


class OnlyFinite:
    """Mixin for mmengine's ``CheckpointHook``: what it saves can be continued from.

    It refuses, with one warning, to save weights or an optimizer state that are not finite, and to
    save while updates are being skipped; best checkpoints included. In runs counted in iterations,
    a checkpoint that is due then is saved after the next good update. At the end of the run or of
    an epoch, where it could not wait, one skipped update is accepted, two in a row are not.
    """

    _waits = False  # a checkpoint is due as soon as an update is not skipped

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if getattr(runner, '_resume', False) and runner._load_from:  # whose folder may have moved
            runner.message_hub.update_info('last_ckpt', str(runner._load_from))

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        super().after_train_iter(runner, *args, **kwargs)
        if self._waits and not _recent_skips(runner):
            self._save_checkpoint(runner)

    def _save_checkpoint(self, runner: Runner) -> None:
        at = runner.iter + 1
        waits = not self._is_end(runner, at)
        reason = _skipping(runner, accepted=0 if waits else 1)
        if reason is None:
            self._waits = False
            super()._save_checkpoint(runner)
        elif not self._waits:  # one line until it is saved
            self._waits = waits
            later = ', but after the next good update' if waits else ''
            runner.logger.warning(f'no checkpoint is saved at iteration {at}{later}: {reason}')

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        at = runner.iter
        accepted = 1 if self._is_end(runner, at) else 0
        reason = (_skipping(runner, accepted) or _not_finite(runner)) if self.save_best else None
        if reason is None:
            super()._save_best_checkpoint(runner, metrics)
        else:
            runner.logger.warning(f'no best checkpoint is saved at iteration {at}: {reason}')

    def _refuses(self, runner: Runner, step: int) -> bool:
        """Whether there are numbers that are not finite; for those who write files to ask."""
        reason = _not_finite(runner)
        if reason:
            name = self.filename_tmpl.format(step)
            runner.logger.warning(f'{name} is not saved: {reason}')
        return reason is not None

    def _is_end(self, runner: Runner, iteration: int) -> bool:
        return self.by_epoch or iteration >= runner.max_iters


def _skipping(runner: Runner, accepted: int) -> str | None:
    """More updates in a row than accepted were skipped, in words; None if not."""
    skips = _recent_skips(runner)
    if skips <= accepted:
        return None
    return f'the last {skips} updates were skipped' if skips > 1 else 'an update was skipped'


def _not_finite(runner: Runner) -> str | None:
    """Name what is not finite, the same in all processes."""
    if not _are_finite(_weights(runner)):
        return 'the weights are not finite'
    if not _are_finite(_states(runner)):
        return 'the state of the optimizer is not finite'
    return None


def _recent_skips(runner: Runner) -> int:
    wrappers = [wrapper for wrapper in _wrappers(runner) if isinstance(wrapper, SkipNonFinite)]
    return max((wrapper.recent_skips for wrapper in wrappers), default=0)


def _wrappers(runner: Runner) -> list:
    wrapper = getattr(runner, 'optim_wrapper', None)
    return list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]


def _weights(runner: Runner) -> Iterator[Tensor]:
    yield from runner.model.parameters()
    yield from runner.model.buffers()


def _states(runner: Runner) -> Iterator[Tensor]:
    for wrapper in _wrappers(runner):
        state = getattr(getattr(wrapper, 'optimizer', None), 'state', None)
        for values in state.values() if isinstance(state, Mapping) else ():
            yield from (x for x in values.values() if isinstance(x, Tensor))


def _are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers are finite, in all processes: each may hold another part of them."""
    largest = total_norm([x.detach() for x in tensors if x.is_floating_point()], math.inf)
    flag = torch.ones((), dtype=torch.int32) if largest is None else largest.isfinite().int()
    all_reduce(flag, op='min')
    return bool(flag)
