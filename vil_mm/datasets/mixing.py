"""Mixup and CutMix of a batch with its own reverse.

The ViL recipes mix image n with image B-1-n, where mmpretrain draws a random permutation.
Everything else is mmpretrain's: one λ or one box for the whole batch, λ corrected for boxes clipped
at the border, and soft targets mixed by λ.
"""

from __future__ import annotations

import numpy as np
from mmpretrain.models.utils.batch_augments import CutMix, Mixup
from mmpretrain.registry import BATCH_AUGMENTS
from torch import Tensor


@BATCH_AUGMENTS.register_module()
class ReversedMixup(Mixup):
    """Mixup (Zhang et al., ICLR 2018) of image n with image B-1-n of the batch.

    Args:
        alpha: λ is drawn from Beta(alpha, alpha).
    """

    def mix(self, batch_inputs: Tensor, batch_scores: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images ``(B, C, H, W)`` and targets ``(B, classes)``; both come back as new tensors.

        Raises:
            ValueError: if B is odd.
        """
        require_even(batch_inputs)
        lam = float(np.random.beta(self.alpha, self.alpha))
        return _blend(batch_inputs, lam), _blend(batch_scores, lam)


@BATCH_AUGMENTS.register_module()
class ReversedCutMix(CutMix):
    """CutMix (Yun et al., ICCV 2019) of image n with image B-1-n of the batch.

    Args:
        alpha, cutmix_minmax, correct_lam: As in mmpretrain's ``CutMix``.
    """

    def mix(self, batch_inputs: Tensor, batch_scores: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images ``(B, C, H, W)`` and targets ``(B, classes)``; both come back as new tensors.

        Raises:
            ValueError: if B is odd.
        """
        require_even(batch_inputs)
        lam = float(np.random.beta(self.alpha, self.alpha))
        box, lam = self.cutmix_bbox_and_lam(tuple(batch_inputs.shape[-2:]), lam)
        top, bottom, left, right = (int(edge) for edge in box)
        mixed = batch_inputs.clone()
        # read from the original: image n and its partner exchange the same box
        mixed[..., top:bottom, left:right] = batch_inputs[..., top:bottom, left:right].flip(0)
        return mixed, _blend(batch_scores, float(lam))


def require_even(batch: Tensor) -> None:
    """Raise ValueError if the middle image of the batch would be its own partner."""
    if len(batch) % 2:
        raise ValueError(
            f'a batch mixed with itself in reverse needs an even number of images, got {len(batch)}'
            ': choose an even batch size per GPU and let the data loader drop the last, smaller one'
        )


def _blend(batch: Tensor, lam: float) -> Tensor:
    return lam * batch + (1 - lam) * batch.flip(0)
