"""mmsegmentation's cross entropy with working class weights."""

from __future__ import annotations

import numpy as np
from mmseg.models import losses
from mmseg.registry import MODELS


@MODELS.register_module(force=True)
class CrossEntropyLoss(losses.CrossEntropyLoss):
    """mmseg's ``CrossEntropyLoss`` with two bugs of ``class_weight`` fixed; otherwise the same.

    It replaces mmseg's class in the registry, so ``class_weight`` works in any ``loss_decode``
    without changing the type.

    With softmax, the weighted mean is PyTorch's, the sum of ``w[label] * loss`` over the sum of
    ``w[label]`` for pixels that have a class, for any ``avg_non_ignore``. mmseg computes this with
    ``avg_non_ignore=False`` but raises an IndexError with True.

    With ``use_sigmoid``, weights apply to each output's positive pixels, as ``pos_weight`` in
    PyTorch's ``binary_cross_entropy_with_logits``; mmseg applies them to columns of the image.

    Args:
        class_weight: One weight per output, or a file of weights (``.npy``, ``.json``, ``.pkl``,
            ``.yaml``).
        **options: Arguments of mmseg's class.
    """

    def __init__(self, *args, class_weight: list[float] | str | None = None, **options) -> None:
        super().__init__(*args, class_weight=class_weight, **options)
        if self.class_weight is None:
            return
        if self.use_sigmoid and len(self.class_weight) > 1:
            self.class_weight = np.reshape(self.class_weight, (-1, 1, 1))
        elif not self.use_sigmoid:
            self.avg_non_ignore = False
