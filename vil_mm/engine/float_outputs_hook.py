"""Mixed precision for detectors, whose boxes do not go together with bfloat16."""

from __future__ import annotations

import re
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from vil_mm.engine.hooks import unwrap

# the neck and the heads of a detector, also those of a cascade's stages: roi_head.bbox_head.0
_PARTS = re.compile(r'(neck|(roi_head\.)?\w+_head(\.\d+)?)$')


@HOOKS.register_module()
class FloatOutputsHook(Hook):
    """Lets neck and heads of a detector compute in mixed precision, but hand on float32.

    mmdetection computes boxes and losses from what its heads return, in the type that it has: in
    bfloat16 a coordinate above 256 pixels is a multiple of 2, and mmcv's NMS and RoIAlign have no
    such kernel on a CPU. A run in full precision stays as it is.
    """

    def before_run(self, runner: Runner) -> None:
        float_outputs(unwrap(runner.model))


def float_outputs(model: nn.Module) -> list[str]:
    """Make a detector's neck and heads return float32; their names.

    Raises:
        ValueError: It has none.
    """
    parts = {name: part for name, part in model.named_modules() if _PARTS.match(name)}
    if not parts:
        raise ValueError(f'FloatOutputsHook: {type(model).__name__} has no neck and no heads')
    for part in parts.values():
        part.register_forward_hook(_to_float32)
    return list(parts)


def _to_float32(module: nn.Module, inputs: tuple, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.to(torch.float32) if output.is_floating_point() else output
    if isinstance(output, list | tuple):
        return type(output)(_to_float32(module, inputs, part) for part in output)
    return output
