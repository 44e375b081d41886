"""Strategies of mmengine's ``FlexibleRunner``."""

from __future__ import annotations

from mmengine._strategy import FSDPStrategy
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel


@STRATEGIES.register_module()
class WholeShapesFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy`` whose optimizer is made while parameters have their own shapes.

    A sharded parameter is a flat piece, so that every one looks as if it had a single dimension:
    ``flat_decay_mult=0`` would take the weight decay from all of them, without a word.
    """

    def build_optim_wrapper(
        self, optim_wrapper: dict | BaseOptimWrapper, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            return super().build_optim_wrapper(optim_wrapper, model)
