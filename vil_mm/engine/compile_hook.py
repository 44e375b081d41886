"""torch.compile for the backbone alone."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from vil_mm.engine.hooks import unwrap


@HOOKS.register_module()
class CompileBackboneHook(Hook):
    """Compile ``model.backbone`` in place before a run trains, validates or tests.

    mmengine's ``compile=True`` compiles the training step including the optimizer, which fails.
    This hook compiles only the forward and backward passes of the backbone. Weights keep their
    names, so checkpoints work with and without compilation. Add it to ``custom_hooks`` to use it;
    compilation happens at the first batch, which therefore takes long.

    Args:
        blocks: Compile blocks one by one instead of the whole backbone, in a fraction of the time.
        fullgraph: Fail at a graph break instead of falling back to Python.
        dynamic: ``None`` compiles for the first image size and then for any size; ``False``
            recompiles for every size.
        mode: 'default', 'reduce-overhead', 'max-autotune' or 'max-autotune-no-cudagraphs'.
        backend: A backend of ``torch.compile``.
    """

    priority = 'VERY_LOW'  # after hooks that change the model

    def __init__(
        self,
        blocks: bool = False,
        fullgraph: bool = False,
        dynamic: bool | None = None,
        mode: str | None = None,
        backend: str = 'inductor',
    ) -> None:
        self.blocks = blocks
        self.options = dict(fullgraph=fullgraph, dynamic=dynamic, mode=mode, backend=backend)
        self.compiled = False

    def before_train(self, runner: Runner) -> None:
        if self.compiled:
            return
        for part in self._parts(runner.model):
            part.compile(**self.options)
        self.compiled = True
        what = 'blocks of the backbone' if self.blocks else 'backbone'
        runner.logger.info(f'The {what} will be compiled at the first batch: {self.options}')

    before_val = before_test = before_train

    def _parts(self, model: nn.Module) -> list[nn.Module]:
        """The modules to compile.

        Raises:
            ValueError: The model does not have them.
        """
        model = unwrap(model)
        backbone = getattr(model, 'backbone', None)
        if backbone is None:
            raise ValueError(f'CompileBackboneHook: {type(model).__name__} has no backbone')
        if not self.blocks:
            return [backbone]
        if not isinstance(getattr(backbone, 'blocks', None), nn.ModuleList):
            raise ValueError(
                f'CompileBackboneHook: {type(backbone).__name__} has no list of blocks; leave '
                'blocks=False'
            )
        return list(backbone.blocks)
