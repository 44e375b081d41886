"""Strategies of mmengine's ``FlexibleRunner``."""

from __future__ import annotations

from mmengine._strategy import FSDPStrategy
from mmengine.optim import AmpOptimWrapper, BaseOptimWrapper
from mmengine.registry import FUNCTIONS, OPTIM_WRAPPERS, STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from vil_mm.layers.block import ViLBlock


@FUNCTIONS.register_module()
def wrap_vil_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """FSDP wrapping policy: every ViL block is a unit; everything else belongs to the root.

    A head cannot be a unit: mmsegmentation calls its ``loss`` and ``predict``, which FSDP does not
    intercept, so its parameters would stay sharded.
    """
    return transformer_auto_wrap_policy(module, recurse, nonwrapped_numel, {ViLBlock})


@STRATEGIES.register_module()
class WholeShapesFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy``, but parameters have their shapes when the optimizer is built.

    Sharded parameters are flat, so every one seems to have a single dimension, and
    ``flat_decay_mult=0`` would silently disable weight decay for all of them. This strategy also
    respects its option ``sync_bn``, makes all processes skip steps together for every kind of
    ``AmpOptimWrapper``, and loads optimizer states with any version of PyTorch.
    """

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        return super()._wrap_model(self.convert_model(model))

    def build_optim_wrapper(
        self, optim_wrapper: dict | BaseOptimWrapper, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        if isinstance(optim_wrapper, dict):
            kind = OPTIM_WRAPPERS.get(optim_wrapper.get('type', 'OptimWrapper'))
            if issubclass(kind, AmpOptimWrapper):  # mmengine checks only for the exact name
                optim_wrapper.setdefault('use_fsdp', True)
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            return super().build_optim_wrapper(optim_wrapper, model)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load a result of :meth:`optim_state_dict` by name; torch changed the argument order."""
        sharded = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(sharded)
