"""DeiT-III as published, based on mmpretrain's. Configs name this in ``custom_imports``."""

from __future__ import annotations

from mmengine.registry import MODELS
from mmpretrain.models.backbones.deit3 import DeiT3, DeiT3TransformerEncoderLayer
from torch import Tensor


class TwoNormLayer(DeiT3TransformerEncoderLayer):
    """mmpretrain's layer with the norm of its second branch fixed.

    mmpretrain applies ``ln1`` twice and never ``ln2``: published weights do not give the published
    model, and DDP fails on parameters without a gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, D) to the same."""
        x = x + self.attn(self.ln1(x))
        return self.ffn(self.ln2(x), identity=x)


@MODELS.register_module()
class TwoNormDeiT3(DeiT3):
    """mmpretrain's ``DeiT3`` with :class:`TwoNormLayer`; arguments and weights are its own."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        for layer in self.layers:
            layer.__class__ = TwoNormLayer  # there is no option for the kind of layer
