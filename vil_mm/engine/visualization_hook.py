"""Pictures of a classifier's predictions."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.registry import HOOKS
from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.structures import DataSample


@HOOKS.register_module()
class ClsVisualizationHook(VisualizationHook):
    """mmpretrain's ``VisualizationHook`` with red and blue in their places.

    That one hands images as loaded, in the order BGR, to a visualizer that draws RGB.
    """

    def _draw_samples(
        self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample], step: int = 0
    ) -> None:
        if not self.enable:
            return
        images = [image.flip(0) for image in data_batch['inputs']]
        super()._draw_samples(batch_idx, {**data_batch, 'inputs': images}, data_samples, step)
