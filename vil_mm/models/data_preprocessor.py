"""Normalise images with any number of channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from mmseg.models import SegDataPreProcessor


@MODELS.register_module()
class MultibandSegDataPreProcessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor`` with ``mean`` and ``std`` of any length, not only 1 or 3.

    Args:
        mean: One value per channel, in the model's order, or one for all; None for no
            normalisation.
        std: Like ``mean``.
        **kwargs: Arguments of ``SegDataPreProcessor``. ``bgr_to_rgb`` only affects images of three
            channels.

    Raises:
        ValueError: ``mean`` and ``std`` differ in length.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        if mean is None and std is None:
            return
        if mean is None or std is None or len(mean) != len(std):
            raise ValueError(
                f'data_preprocessor: mean and std need one value a channel each, got mean={mean} '
                f'and std={std}'
            )
        self._enable_normalize = True
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """As in ``SegDataPreProcessor``.

        Raises:
            ValueError: The number of channels differs from that of ``mean``. A single channel is
                accepted and normalised by every value of ``mean``.
        """
        given, wanted = len(data['inputs'][0]), len(self.mean) if self._enable_normalize else 1
        if wanted != 1 and given not in (1, wanted):
            raise ValueError(
                f'images have {given} channels, but data_preprocessor.mean has {wanted} values: '
                'does the pipeline load all bands, as LoadMultispectralImage does?'
            )
        return super().forward(data, training)
