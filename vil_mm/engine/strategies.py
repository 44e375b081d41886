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
    """Wrapping policy of FSDP: every ViL block is one unit, all else belongs to the whole model.

    A head must not be one: mmsegmentation calls its ``loss`` and ``predict``, which FSDP does not
    see, so that its parameters would still be in pieces.
    """
    return transformer_auto_wrap_policy(module, recurse, nonwrapped_numel, {ViLBlock})


@STRATEGIES.register_module()
class WholeShapesFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy`` whose optimizer is made while parameters have their own shapes.

    A sharded parameter is a flat piece, so that every one looks as if it had a single dimension:
    ``flat_decay_mult=0`` would take the weight decay from all of them, without a word. Besides it
    heeds its option ``sync_bn``, lets all processes of every kind of ``AmpOptimWrapper`` skip steps
    together, and loads optimizer states under any version of PyTorch.
    """

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        return super()._wrap_model(self.convert_model(model))

    def build_optim_wrapper(
        self, optim_wrapper: dict | BaseOptimWrapper, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        if isinstance(optim_wrapper, dict):
            kind = OPTIM_WRAPPERS.get(optim_wrapper.get('type', 'OptimWrapper'))
            if issubclass(kind, AmpOptimWrapper):  # mmengine looks for that very name
                optim_wrapper.setdefault('use_fsdp', True)
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            return super().build_optim_wrapper(optim_wrapper, model)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load what :meth:`optim_state_dict` gave; by names, as torch has changed their order."""
        sharded = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(sharded)
