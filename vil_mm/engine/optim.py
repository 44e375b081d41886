"""Optimizer wrappers that skip non-finite losses, and autocast on any device."""

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
    """Too many losses were not finite. The first line of the message is complete."""

    exit_code = 1  # of tools/train.py; 2 means wrong arguments


class SkipNonFinite:
    """Mixin for an ``OptimWrapper`` that skips updates whose loss is NaN or infinite.

    There is no backward pass, and BatchNorm's running statistics, already corrupted by the forward
    pass, are restored. With gradient accumulation the whole update is skipped. If the loss of one
    process is not finite, all processes skip. The number of skips is logged as ``skipped`` and kept
    in checkpoints; too many skips stop the training.

    Args:
        max_skips_in_a_row: Maximum number of consecutive skips.
        max_skips: Maximum number of skips in a run, including resumed parts; ``None`` for no limit.
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
        self._spoilt = False  # a loss of the current update was not finite
        self._model: nn.Module | None = None
        self._statistics: tuple[list[Tensor], list[Tensor]] = ([], [])

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The wrapper's own context; saves BatchNorm's statistics before the forward pass."""
        if model is not self._model:
            self._model, live = model, _running_statistics(model)
            self._statistics = live, [torch.empty_like(buffer) for buffer in live]
        _copy(self._statistics[0], self._statistics[1])
        with super().optim_context(model):
            yield

    def update_params(
        self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """Backpropagate a finite loss and update; skip any other."""
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
        counts = f'{self.skips_in_a_row} in a row, {self.skips} in all'
        if self.skips_in_a_row > self.max_skips_in_a_row or (
            self.max_skips is not None and self.skips > self.max_skips
        ):
            raise TrainingDivergedError(
                f'training stopped at iteration {self._inner_count}: losses were not finite, '
                f'{counts}. The last checkpoint is kept: continue from it with a lower learning '
                'rate or without float16 (in bfloat16 or float32). The limits are '
                f'optim_wrapper.max_skips_in_a_row={self.max_skips_in_a_row} and '
                f'max_skips={self.max_skips}'
            )
        value = loss.item()
        why = 'in another process' if math.isfinite(value) else f'it is {value}'
        print_log(
            f'update skipped at iteration {self._inner_count}, the loss is not finite, {why} '
            f'({counts})',
            logger='current',
            level=logging.WARNING,
        )

    def state_dict(self) -> dict:
        """The wrapper's state, with the counts under 'skips'."""
        return {**super().state_dict(), 'skips': (self.skips, self.skips_in_a_row)}

    def load_state_dict(self, state_dict: dict) -> None:
        """Inverse of :meth:`state_dict`; a state without counts keeps the current ones."""
        self.skips, self.skips_in_a_row = state_dict.pop('skips', (self.skips, 0))
        super().load_state_dict(state_dict)


@OPTIM_WRAPPERS.register_module()
class FiniteLossOptimWrapper(SkipNonFinite, OptimWrapper):
    """mmengine's ``OptimWrapper``, skipping non-finite losses: for full precision."""


@OPTIM_WRAPPERS.register_module()
class FiniteLossAmpOptimWrapper(SkipNonFinite, AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, skipping non-finite losses: for float16 on a GPU.

    Its loss scaling still handles non-finite gradients.
    """


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(SkipNonFinite, OptimWrapper):
    """Training under ``torch.autocast`` without loss scaling, on any device including the CPU.

    mmengine's ``AmpOptimWrapper`` does not support CPUs; use it for float16 on a GPU. Non-finite
    losses are skipped.

    Args:
        dtype: 'bfloat16', which needs no loss scaling because it has the range of float32.
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
    """Copy all tensors at once: one kernel per tensor would slow every step."""
    if source:
        torch._foreach_copy_(target, source)


def _finite_everywhere(loss: Tensor) -> bool:
    """Whether the loss is finite in every process."""
    flag = torch.isfinite(loss.detach()).all().to(torch.int32)
    all_reduce(flag, op='min')
    return bool(flag)
