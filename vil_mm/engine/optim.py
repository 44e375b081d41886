"""Optimizer wrappers: what is done with a loss that is not finite, and autocast on any device."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class TrainingDivergedError(RuntimeError):
    """Too many losses were not finite. The first line says it all."""

    exit_code = 1  # of tools/train.py: not the user's arguments, which are 2


class SkipNonFinite:
    """Mixin of an ``OptimWrapper``: an update whose loss is NaN or infinite is left out.

    Nothing is propagated back, and BatchNorm's running statistics, which the forward pass has
    already spoilt, are put back. With gradient accumulation the whole update is left out. Processes
    decide together: all skip if the loss of one is not finite. Skips are counted in the log's
    ``skipped`` and in checkpoints; too many of them end the training.

    Args:
        max_skips_in_a_row: Losses that may follow each other without a finite one between them.
        max_skips: Losses of a whole run, resumed ones included; ``None`` for no limit.
        kwargs: As in the wrapper that this is mixed into.

    Raises:
        ValueError: A limit is negative.
        TrainingDivergedError: In :meth:`update_params`, beyond a limit.
    """

    def __init__(
        self, *, max_skips_in_a_row: int = 50, max_skips: int | None = 1000, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        if min(max_skips_in_a_row, max_skips or 0) < 0:
            raise ValueError(
                'max_skips_in_a_row and max_skips must be 0 or more, '
                f'got {max_skips_in_a_row} and {max_skips}'
            )
        self.max_skips_in_a_row, self.max_skips = max_skips_in_a_row, max_skips
        self.skips, self.skips_in_a_row = 0, 0
        self._spoilt = False  # a loss of the update that is being accumulated was not finite
        self._model: nn.Module | None = None
        self._statistics: tuple[list[Tensor], list[Tensor]] = ([], [])

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The wrapper's own context; what BatchNorm knows before the forward pass is kept."""
        if model is not self._model:
            self._model, live = model, _running_statistics(model)
            self._statistics = live, [torch.empty_like(buffer) for buffer in live]
        _copy(self._statistics[0], self._statistics[1])
        with super().optim_context(model):
            yield

    def update_params(
        self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """Propagate a finite loss back and update, as the wrapper does; skip any other."""
        finite = _finite_everywhere(loss)
        if not finite:
            self._skip(loss)
        else:
            self.skips_in_a_row = 0
        if self.skips:
            self.message_hub.update_scalar('train/skipped', self.skips)
        self._spoilt |= not finite
        if not self._spoilt:
            super().update_params(loss, step_kwargs, zero_kwargs)
            return
        self._inner_count += 1  # as the wrapper's backward does
        if self.should_update():
            self.zero_grad(**(zero_kwargs or {}))
            self._spoilt = False

    def _skip(self, loss: Tensor) -> None:
        _copy(self._statistics[1], self._statistics[0])
        self.skips += 1
        self.skips_in_a_row += 1
        told = f'{self.skips_in_a_row} in a row, {self.skips} in all'
        if self.skips_in_a_row > self.max_skips_in_a_row or (
            self.max_skips is not None and self.skips > self.max_skips
        ):
            raise TrainingDivergedError(
                f'training stopped at iteration {self._inner_count}: losses were not finite, '
                f'{told}. The last checkpoint is kept: go on from it with a lower learning rate or '
                'without float16 (--amp bfloat16, or no --amp). The limits are optim_wrapper.'
                f'max_skips_in_a_row={self.max_skips_in_a_row} and max_skips={self.max_skips}'
            )
        value = loss.item()
        why = 'in another process' if math.isfinite(value) else f'it is {value}'
        print_log(
            f'update skipped at iteration {self._inner_count}, the loss is not finite, {why} '
            f'({told})',
            logger='current',
            level=logging.WARNING,
        )

    def state_dict(self) -> dict:
        """That of the wrapper, and the counts under 'skips'."""
        return {**super().state_dict(), 'skips': (self.skips, self.skips_in_a_row)}

    def load_state_dict(self, state_dict: dict) -> None:
        """Counterpart of :meth:`state_dict`; without counts, as of another wrapper, they stay."""
        self.skips, self.skips_in_a_row = state_dict.pop('skips', (self.skips, 0))
        super().load_state_dict(state_dict)


@OPTIM_WRAPPERS.register_module()
class FiniteLossOptimWrapper(SkipNonFinite, OptimWrapper):
    """mmengine's ``OptimWrapper`` that skips losses which are not finite: full precision."""


@OPTIM_WRAPPERS.register_module()
class FiniteLossAmpOptimWrapper(SkipNonFinite, AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper`` that skips losses which are not finite: float16 on a GPU.

    Its loss scaling handles gradients that are not finite, as it always does.
    """


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(SkipNonFinite, OptimWrapper):
    """Training under ``torch.autocast`` without loss scaling, on any device, CPU included.

    mmengine's ``AmpOptimWrapper`` refuses the CPU; on a GPU it is the one to use for float16.
    Losses that are not finite are skipped.

    Args:
        dtype: 'bfloat16', which has float32's range and so needs no loss scaling.
        kwargs: As in :class:`SkipNonFinite` and mmengine's ``OptimWrapper``.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs) -> None:
        super().__init__(**kwargs)
        if dtype != 'bfloat16':
            raise ValueError(
                f'AutocastOptimWrapper has no loss scaling for {dtype!r}; use bfloat16'
            )
        self.dtype = torch.bfloat16

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = get_device()
        with super().optim_context(model), torch.autocast(device, dtype=self.dtype):
            yield


def _running_statistics(model: nn.Module) -> list[Tensor]:
    """Mean, variance and count of every BatchNorm."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [buffer for norm in norms for buffer in norm.buffers()]


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    """One pass for all of them: a step has no time for a kernel each."""
    if source:
        torch._foreach_copy_(target, source)


def _finite_everywhere(loss: Tensor) -> bool:
    """Whether the loss is finite in every process."""
    flag = torch.isfinite(loss.detach()).all().to(torch.int32)
    all_reduce(flag, op='min')
    return bool(flag)
