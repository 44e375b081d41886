"""Test-time augmentation that sums logits."""

from __future__ import annotations

from mmengine.registry import MODELS
from mmseg.models.segmentors import SegTTAModel
from mmseg.structures import SegDataSample


@MODELS.register_module()
class SumLogitsTTAModel(SegTTAModel):
    """The classes of the largest sum of logits over all passes.

    mmseg's ``SegTTAModel`` averages probabilities instead, and holds the logits of every pass
    until the last. Here each pass is added as soon as it is made, so that the logits of two are in
    memory however many there are.

    Args:
        module: The segmentor, or its config.
        data_preprocessor: As in ``SegTTAModel``.

    Raises:
        ValueError: The segmentor has one output channel; it hands out probabilities, not logits.
    """

    def __init__(self, module: object, data_preprocessor: object = None) -> None:
        super().__init__(module, data_preprocessor)
        if self.module.out_channels == 1:
            raise ValueError(
                'SumLogitsTTAModel: a segmentor with out_channels=1 hands out probabilities, which '
                "cannot be summed as logits; use tta_model=dict(type='SegTTAModel')"
            )

    def test_step(self, data: dict) -> list[SegDataSample]:
        """From ``{key: [a batch of pass 1, a batch of pass 2, ...]}`` to one sample an image."""
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
        """Move the logits of an image's further samples into the sum in its first, in place.

        Args:
            data_samples_list: Samples of each image, all with logits ``(classes, H, W)`` of the
                image's original size.

        Returns:
            The first sample of each image, its ``pred_sem_seg`` made anew.
        """
        for first, *others in data_samples_list:
            logits = first.seg_logits.data
            for sample in others:
                logits += sample.seg_logits.data
                del sample.seg_logits
            first.pred_sem_seg.data = logits.argmax(dim=0, keepdim=True)
        return [samples[0] for samples in data_samples_list]
