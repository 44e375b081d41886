"""mmsegmentation's cross entropy with class weights that work."""

from __future__ import annotations

import numpy as np
from mmseg.models import losses
from mmseg.registry import MODELS


@MODELS.register_module(force=True)
class CrossEntropyLoss(losses.CrossEntropyLoss):
    """mmseg's ``CrossEntropyLoss`` in the two cases in which that fails; otherwise the same.

    It takes the name's place in mmsegmentation's registry: ``class_weight`` in any ``loss_decode``
    works, with the type that every config has.

    With softmax and weights the mean is PyTorch's, the sum of ``w[label] * loss`` over the sum of
    ``w[label]``, both over the pixels that have a class, whatever ``avg_non_ignore`` says. mmseg
    computes that with ``avg_non_ignore=False``; with True it raises an IndexError.

    With ``use_sigmoid`` the weights are those of each output's positive pixels, ``pos_weight`` of
    PyTorch's ``binary_cross_entropy_with_logits``; mmseg takes them for columns of the image.

    Args:
        class_weight: A weight for each output, or a file of them (``.npy``, ``.json``, ``.pkl``,
            ``.yaml``).
        **options: Those of mmseg's class.
    """

    def __init__(self, *args, class_weight: list[float] | str | None = None, **options) -> None:
        super().__init__(*args, class_weight=class_weight, **options)
        if self.class_weight is None:
            return
        if self.use_sigmoid and len(self.class_weight) > 1:
            self.class_weight = np.reshape(self.class_weight, (-1, 1, 1))
        elif not self.use_sigmoid:
            self.avg_non_ignore = False
