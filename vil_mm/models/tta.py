"""Test-time augmentation that sums logits."""

from __future__ import annotations

from mmengine.registry import MODELS
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample


@MODELS.register_module()
class SumLogitsTTAModel(SegTTAModel):
    """Predicts the class with the largest sum of logits over all passes.

    mmseg's ``SegTTAModel`` averages probabilities instead and holds the logits of every pass until
    the last. Here each pass is added at once, so the logits of at most two passes are in memory.

    Args:
        module: The segmentor, or its config.
        data_preprocessor: As in ``SegTTAModel``.

    Raises:
        ValueError: The segmentor has one output channel and returns probabilities, not logits.
    """

    def __init__(self, module: object, data_preprocessor: object = None) -> None:
        super().__init__(module, data_preprocessor)
        if self.module.out_channels == 1:
            raise ValueError(
                'SumLogitsTTAModel: a segmentor with out_channels=1 returns probabilities, which '
                "cannot be summed as logits; use tta_model=dict(type='SegTTAModel')"
            )

    def test_step(self, data: dict) -> list[SegDataSample]:
        """Map ``{key: [a batch of pass 1, a batch of pass 2, ...]}`` to one sample per image."""
        merged = None
        for batch in zip(*data.values(), strict=True):
            samples = self.module.test_step(dict(zip(data, batch, strict=True)))
            if merged:
                samples = self.merge_preds(list(zip(merged, samples, strict=True)))
            merged = samples
        return merged

    def merge_preds(
        self, data_samples_list: list[tuple[SegDataSample, ...]]
    ) -> list[SegDataSample]:
        """Add the logits of an image's other samples to its first, in place.

        Args:
            data_samples_list: Samples of each image, all with logits ``(classes, H, W)`` of the
                image's original size.

        Returns:
            The first sample of each image, with a new ``pred_sem_seg``.
        """
        for first, *others in data_samples_list:
            logits = first.seg_logits.data
            for sample in others:
                logits += sample.seg_logits.data
                del sample.seg_logits
            first.pred_sem_seg.data = logits.argmax(dim=0, keepdim=True)
        return [samples[0] for samples in data_samples_list]
