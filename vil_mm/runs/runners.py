"""Runners whose checkpoints survive a kill, and that say in a line what their machine lacks."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import FlexibleRunner, Runner

from vil_mm.engine.checkpoint_hook import SafeCheckpointHook
from vil_mm.runs.host import explain_host_errors
from vil_mm.runs.parts import NamedParts
from vil_mm.runs.screen import ShortScreen
from vil_mm.runs.work_dir import refuse_lost_work_dir


class SafeRuns:
    """Mix-in for mmengine's runners.

    Its ``CheckpointHook`` becomes ``SafeCheckpointHook``, and a full disk, a lost work dir or a
    killed worker of a data loader is a :class:`~vil_mm.runs.host.HostError`.
    """

    def register_hook(self, hook: Hook | dict, *args: object, **kwargs: object) -> None:
        if isinstance(hook, dict):
            kind = hook.get('type')
            if (HOOKS.get(kind) if isinstance(kind, str) else kind) is CheckpointHook:
                hook = {**hook, 'type': SafeCheckpointHook}
        super().register_hook(hook, *args, **kwargs)

    def save_checkpoint(self, *args: object, **kwargs: object) -> None:
        refuse_lost_work_dir(self.work_dir)
        super().save_checkpoint(*args, **kwargs)

    def train(self) -> object:
        with explain_host_errors(self.work_dir):
            return super().train()

    def test(self) -> dict:
        with explain_host_errors(self.work_dir, *self._outputs()):
            return super().test()

    def _outputs(self) -> Iterator[str]:
        """Folders of predictions."""
        evaluator = self.cfg.get('test_evaluator')
        if isinstance(evaluator, dict) and evaluator.get('output_dir'):
            yield evaluator['output_dir']


class ShortRunner(NamedParts, SafeRuns, ShortScreen, Runner):
    """mmengine's ``Runner`` with a short screen."""


class ShortFlexibleRunner(NamedParts, SafeRuns, ShortScreen, FlexibleRunner):
    """mmengine's ``FlexibleRunner`` with a short screen."""
