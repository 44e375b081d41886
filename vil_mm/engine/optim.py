"""Optimizer wrappers that skip non-finite updates, and autocast on any device."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

GRADIENTS = 'the gradients are not finite'


class TrainingDivergedError(RuntimeError):
    """Too many updates were skipped. The first line of the message is complete."""

    exit_code = 1  # of tools/train.py; 2 means wrong arguments


class SkipNonFinite:
    """Mixin for an ``OptimWrapper`` that skips updates with NaN or infinite numbers.

    An update is skipped if a loss, the norm of the gradients or a running statistic of BatchNorm is
    not finite, in any process: all processes skip together. It leaves no trace. Gradients are
    zeroed, and running statistics are again those before the update; with gradient accumulation,
    those before its first batch. The number of skips is logged as ``skipped`` and kept in
    checkpoints; too many skips stop the training.

    The check costs one reduction over processes and one synchronisation with the device per batch.

    Args:
        max_skips_in_a_row: Maximum number of consecutive skips.
        max_skips: Maximum number of skips since the run was started or resumed; ``None`` for no
            limit.
        kwargs: As in the wrapper that this is mixed into.

    Raises:
        ValueError: A limit is negative.
        TrainingDivergedError: In :meth:`update_params`, beyond a limit.
    """

    _norm_order = 2.0  # of the gradients

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
        self._skips_before = 0  # until the run was resumed
        self._spoilt: str | None = None  # what is not finite in the current update
        self._first_batch = True  # of an update
        self._norm: Tensor | None = None  # of the gradients, if they have been clipped by it
        self._model: nn.Module | None = None
        self._statistics: tuple[list[Tensor], list[Tensor]] = ([], [])

    @property
    def recent_skips(self) -> int:
        """How many updates in a row were skipped up to now, one that is unfinished included."""
        return self.skips_in_a_row + (self._spoilt is not None)

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The wrapper's own context; saves BatchNorm's statistics before the forward pass."""
        if model is not self._model:
            self._model, live = model, _running_statistics(model)
            self._statistics = live, [torch.empty_like(buffer) for buffer in live]
            self._first_batch = True
        if self._first_batch:
            _copy(self._statistics[0], self._statistics[1])
        with super().optim_context(model):
            yield

    def update_params(
        self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """Backpropagate the loss, and update the parameters unless something is not finite."""
        self.backward(self.scale_loss(loss))
        updates = self._first_batch = self.should_update()
        problem = self._find_problem(loss, updates)
        self._spoilt = self._spoilt or problem
        if self._spoilt:
            _copy(self._statistics[1], self._statistics[0])
        if updates:
            self._finish_update(step_kwargs or {}, zero_kwargs or {})
        if self.skips:
            self.message_hub.update_scalar('train/skipped', self.skips)

    def _finish_update(self, step_kwargs: dict, zero_kwargs: dict) -> None:
        spoilt, self._spoilt = self._spoilt, None
        if spoilt is None:
            self.step(**step_kwargs)
            self.skips_in_a_row = 0
        elif self._counts(spoilt, step_kwargs):
            self._skip(spoilt)
        self._norm = None
        self.zero_grad(**zero_kwargs)

    def _counts(self, spoilt: str, step_kwargs: dict) -> bool:
        """Whether a skipped update counts as a skip."""
        return True

    def _find_problem(self, loss: Tensor, updates: bool) -> str | None:
        """Name what is not finite in any process; the same things are checked in all of them."""
        found = {
            'the loss is not finite': loss.detach(),
            "BatchNorm's running statistics are not finite": total_norm(
                [x for x in self._statistics[0] if x.is_floating_point()], math.inf
            ),
            GRADIENTS: self._gradient_norm() if updates else None,
        }
        flags = [_is_finite(value, loss.device) for value in found.values()]
        here = torch.stack(flags).to(torch.int32)
        everywhere = here.clone()
        all_reduce(everywhere, op='min')
        bad = [name for name, fine in zip(found, everywhere.tolist(), strict=True) if not fine]
        if not bad:
            return None
        if here.all():
            return f'{bad[0]}, in another process'
        return f'{bad[0]}, it is {loss.item()}' if not here[0] else bad[0]

    def _gradient_norm(self) -> Tensor | None:
        """The norm that clipping needs as well, where it does; None without gradients."""
        groups = self.optimizer.param_groups
        params = [x for group in groups for x in group['params'] if x.grad is not None]
        clips = self.clip_grad_kwargs and self.grad_name == 'grad_norm' and params
        if clips and not self._scales_gradients():
            self._norm = self.clip_func(params, **self.clip_grad_kwargs)
            return self._norm
        return total_norm([x.grad for x in params], self._norm_order)

    def _scales_gradients(self) -> bool:
        return False

    def _clip_grad(self) -> None:
        if self._norm is None:
            super()._clip_grad()
        else:
            self.message_hub.update_scalar('train/grad_norm', float(self._norm))

    def _skip(self, why: str) -> None:
        self.skips += 1
        self.skips_in_a_row += 1
        here = self.skips - self._skips_before
        counts = f'{self.skips_in_a_row} in a row, {here} in all'
        last = self._inner_count - 1  # the number of the last complete iteration
        if self.skips_in_a_row > self.max_skips_in_a_row or (
            self.max_skips is not None and here > self.max_skips
        ):
            raise TrainingDivergedError(
                f'training stopped at iteration {last}: losses or gradients were not finite, '
                f'{counts}; the last time {why}. {self._advice()} with a lower learning rate or '
                'without float16 (in bfloat16 or float32). The limits are '
                f'optim_wrapper.max_skips_in_a_row={self.max_skips_in_a_row} and '
                f'max_skips={self.max_skips}'
            )
        print_log(
            f'update skipped at iteration {self._inner_count}, {why} ({counts})',
            logger='current',
            level=logging.WARNING,
        )

    def _advice(self) -> str:
        """Names the last checkpoint: the hook that saves it refuses non-finite numbers."""
        last = str(self.message_hub.runtime_info.get('last_ckpt') or '')
        if '://' in last or os.path.exists(last):
            return f'The last checkpoint, {last}, has finite weights: continue from it (--resume)'
        return 'No checkpoint was saved: start again'

    def state_dict(self) -> dict:
        """The wrapper's state, with the counts under 'skips'."""
        return {**super().state_dict(), 'skips': (self.skips, self.skips_in_a_row)}

    def load_state_dict(self, state_dict: dict) -> None:
        """Inverse of :meth:`state_dict`; the limits count from here."""
        self.skips, _ = state_dict.pop('skips', (self.skips, 0))
        self._skips_before, self.skips_in_a_row = self.skips, 0
        super().load_state_dict(state_dict)


@OPTIM_WRAPPERS.register_module()
class FiniteLossOptimWrapper(SkipNonFinite, OptimWrapper):
    """mmengine's ``OptimWrapper``, skipping non-finite updates: for full precision."""


@OPTIM_WRAPPERS.register_module()
class FiniteLossAmpOptimWrapper(SkipNonFinite, AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, skipping non-finite updates: for float16 on a GPU.

    Where only the gradients are not finite, the loss scale is halved, as in mmengine. A dynamic
    scale is found in this way: such an update is skipped, but counts only if its scale was already
    1 or less, where a smaller one helps no more.
    """

    _norm_order = math.inf  # as the scaler: the squares of scaled gradients might overflow

    def _scales_gradients(self) -> bool:
        return True

    def _counts(self, spoilt: str, step_kwargs: dict) -> bool:
        if not spoilt.startswith(GRADIENTS):
            return True
        is_dynamic = self._scale_update_param is None
        searches = is_dynamic and self.loss_scaler.get_scale() > 1
        self.loss_scaler.step(self.optimizer, **step_kwargs)  # finds the same, and changes nothing
        self.loss_scaler.update(self._scale_update_param)
        return not searches


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(SkipNonFinite, OptimWrapper):
    """Training under ``torch.autocast`` without loss scaling, on any device including the CPU.

    mmengine's ``AmpOptimWrapper`` does not support CPUs; use it for float16 on a GPU. Non-finite
    updates are skipped.

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


def total_norm(tensors: list[Tensor], order: float) -> Tensor | None:
    """Norm of all numbers together, without a kernel per tensor; None without any."""
    dense = [x._values() if x.is_sparse else x for x in tensors]
    half = torch.float16  # its largest number is too small for a norm
    parts = [x.float() if x.dtype == half else x for x in dense if x.numel()]
    if not parts:
        return None
    norms = torch._foreach_norm(parts, order)
    return torch.linalg.vector_norm(torch.stack([x.to(norms[0]) for x in norms]), order)


def _is_finite(value: Tensor | None, device: torch.device) -> Tensor:
    """One flag on the device; without a value it is set."""
    if value is None:
        return torch.ones((), dtype=torch.bool, device=device)
    return torch.isfinite(value).all().to(device)
