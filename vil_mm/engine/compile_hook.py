"""torch.compile of the backbone alone."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from vil_mm.engine.hooks import unwrap


@HOOKS.register_module()
class CompileBackboneHook(Hook):
    """Compile ``model.backbone`` in place before a run trains, validates or tests.

    ``compile=True`` of mmengine's Runner compiles the training step with its optimizer, which
    fails. This compiles the backbone's forward pass (and backward, where one is asked for); the
    names of its weights stay, so checkpoints fit models that are not compiled, and the other way
    round. Off unless a config has it among its ``custom_hooks``; nothing is compiled before the
    first batch, which therefore takes long.

    Args:
        blocks: Compile the blocks one by one instead of the whole, which takes a fraction of the
            time.
        fullgraph: Fail where the code is no single graph instead of falling back to Python there.
        dynamic: ``None`` compiles for the first size of image and then for any, ``False`` for every
            size anew.
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
        self.options = {
            'fullgraph': fullgraph,
            'dynamic': dynamic,
            'mode': mode,
            'backend': backend,
        }
        self.compiled = False

    def before_train(self, runner: Runner) -> None:
        self._compile(runner)

    def before_val(self, runner: Runner) -> None:
        self._compile(runner)

    def before_test(self, runner: Runner) -> None:
        self._compile(runner)

    def _compile(self, runner: Runner) -> None:
        if self.compiled:
            return
        for part in self._parts(runner.model):
            part.compile(**self.options)
        self.compiled = True
        what = 'blocks of the backbone' if self.blocks else 'backbone'
        runner.logger.info(f'The {what} will be compiled at the first batch: {self.options}')

    def _parts(self, model: nn.Module) -> list[nn.Module]:
        """What to compile.

        Raises:
            ValueError: The model has no such part.
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
