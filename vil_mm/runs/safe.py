"""Runners whose checkpoints survive a kill."""

from __future__ import annotations

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from vil_mm.engine.checkpoint_hook import SafeCheckpointHook


class SafeCheckpoints:
    """Mix-in for mmengine's runners: its ``CheckpointHook`` becomes ``SafeCheckpointHook``."""

    def register_hook(self, hook: Hook | dict, *args: object, **kwargs: object) -> None:
        if isinstance(hook, dict):
            kind = hook.get('type')
            if (HOOKS.get(kind) if isinstance(kind, str) else kind) is CheckpointHook:
                hook = {**hook, 'type': SafeCheckpointHook}
        super().register_hook(hook, *args, **kwargs)
