"""A convolution that keeps the weights set by a head's ``init_cfg``."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module()
class InitCfgConv2d(nn.Conv2d):
    """``nn.Conv2d`` that keeps the weights set by the ``init_cfg`` of its parent module.

    mmengine applies the ``init_cfg`` of a head first and then initialises its ``ConvModule``s,
    which overwrite their convolutions: in UPerHead this affects the two bottlenecks, but not the
    convolutions in lists. ``ConvModule`` skips a convolution that has ``init_weights``. Use it in
    heads with ``conv_cfg=dict(type='InitCfgConv2d')``; arguments are those of ``nn.Conv2d``.
    """

    def init_weights(self) -> None:
        """Do nothing: ``ConvModule`` only checks that this method exists."""
