"""Inspect a built model: its kind, its input channels, its size."""

from __future__ import annotations

from torch import nn


def find_kind(model: nn.Module) -> str:
    """'segmentor', 'classifier' or 'detector'.

    Raises:
        ValueError: The model is none of them.
    """
    if hasattr(model, 'decode_head'):
        return 'segmentor'
    if hasattr(model, 'bbox_head') or hasattr(model, 'rpn_head') or hasattr(model, 'roi_head'):
        return 'detector'
    if hasattr(model, 'head') and hasattr(model, 'backbone'):
        return 'classifier'
    raise ValueError(f'{type(model).__name__} is not a segmentor, classifier or detector')


def count_channels(model: nn.Module) -> int:
    """Input channels of a model: those of its backbone's first convolution, 3 without one."""
    backbone = getattr(model, 'backbone', model)
    layers = (x for x in backbone.modules() if isinstance(x, nn.Conv2d))
    return next((layer.in_channels for layer in layers), 3)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, trainable or frozen."""
    return sum(parameter.numel() for parameter in model.parameters())
