"""Mixed precision for detectors, whose boxes need float32."""

from __future__ import annotations

import re
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from vil_mm.engine.hooks import unwrap

# a detector's neck and heads, including those of cascade stages: roi_head.bbox_head.0
_PARTS = re.compile(r'(neck|(roi_head\.)?\w+_head(\.\d+)?)$')


@HOOKS.register_module()
class FloatOutputsHook(Hook):
    """Lets a detector's neck and heads compute in mixed precision but return float32.

    mmdetection computes boxes and losses in the dtype that its heads return. In bfloat16,
    coordinates above 256 pixels are multiples of 2, and mmcv's NMS and RoIAlign have no bfloat16
    kernel on a CPU. The hook does not affect runs in full precision.
    """

    def before_run(self, runner: Runner) -> None:
        float_outputs(unwrap(runner.model))


def float_outputs(model: nn.Module) -> list[str]:
    """Make a detector's neck and heads return float32, and return their names.

    Raises:
        ValueError: The model has neither.
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
