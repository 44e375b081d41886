"""A convolution that lets a head's ``init_cfg`` decide."""

from __future__ import annotations

from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module()
class InitCfgConv2d(nn.Conv2d):
    """``nn.Conv2d`` that keeps the weights which the ``init_cfg`` of the module around it gave it.

    mmcv's ``ConvModule`` draws its convolution anew when it is initialised, which mmengine does
    after ``init_cfg`` of the head: of UPerHead the two bottlenecks lose what ``init_cfg`` set,
    the convolutions in lists keep it. A convolution with ``init_weights`` is left alone. For heads,
    as ``conv_cfg=dict(type='InitCfgConv2d')``; the arguments are those of ``nn.Conv2d``.
    """

    def init_weights(self) -> None:
        """Nothing: that this method exists is what ``ConvModule`` asks for."""
