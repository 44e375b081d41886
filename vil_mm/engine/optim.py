"""Optimizer wrappers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Training under ``torch.autocast`` without loss scaling, on any device, CPU included.

    mmengine's ``AmpOptimWrapper`` refuses the CPU; on a GPU it is the one to use for float16.

    Args:
        dtype: 'bfloat16', which has float32's range and so needs no loss scaling.
        kwargs: As in mmengine's ``OptimWrapper``.
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
