"""mmsegmentation's EncoderDecoder for images whose logits do not fit into memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from mmengine.dist import is_main_process
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from vil_mm.models.segmentors.tiling import Box, Size, Tiling, predict_windows
from vil_mm.progress import no_progress, show_progress

PATIENCE = 10.0  # seconds without a progress bar


@MODELS.register_module()
class TiledEncoderDecoder(EncoderDecoder):
    """An ``EncoderDecoder`` with a third inference mode, 'tiled', whose memory is bounded.

    ``test_cfg=dict(mode='tiled', crop_size=(512, 512), stride=(341, 341))`` gives the predictions
    of mode 'slide', up to float rounding, but holds only the logits of a band of rows (see
    :func:`vil_mm.models.segmentors.tiling.predict_windows`) and normalises windows instead of the
    image. Samples contain ``pred_sem_seg`` only, not ``seg_logits``, so test-time augmentation is
    not supported. ``batch_size`` (1) in ``test_cfg`` is the number of windows per forward pass.
    Images of a batch may differ in size. Predictions that take more than ten seconds show a
    progress bar.

    In the modes 'slide' and 'whole', and in training, it behaves like ``EncoderDecoder``.
    """

    def test_step(self, data: dict) -> list[SegDataSample]:
        """Predict a batch of images as packed by the pipeline."""
        return self.predict_tiled(data) if self._tiled else super().test_step(data)

    def val_step(self, data: dict) -> list[SegDataSample]:
        """As :meth:`test_step`."""
        return self.predict_tiled(data) if self._tiled else super().val_step(data)

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Predict images ``(N, C, H, W)`` that are already normalised and padded."""
        if not self._tiled:
            return super().predict(inputs, data_samples)
        samples = data_samples or [None] * len(inputs)
        return [
            self._predict_image(image, lambda windows: windows, image.shape[1:], sample)
            for image, sample in zip(inputs, samples, strict=True)
        ]

    @property
    def _tiled(self) -> bool:
        return (self.test_cfg or {}).get('mode') == 'tiled'

    def predict_tiled(self, data: dict) -> list[SegDataSample]:
        """As :meth:`test_step` in mode 'tiled', whatever the mode of ``test_cfg``."""
        unpadded = copy.copy(self.data_preprocessor)
        unpadded.test_cfg = None  # the image is padded, not each window

        def prepare(windows: Tensor) -> Tensor:
            return unpadded({'inputs': list(windows)}, False)['inputs']

        samples = data.get('data_samples') or [None] * len(data['inputs'])
        return [
            self._predict_image(image, prepare, self._padded_size(image), sample)
            for image, sample in zip(data['inputs'], samples, strict=True)
        ]

    def _padded_size(self, image: Tensor) -> Size:
        """Size of an image ``(C, H, W)`` after padding by ``data_preprocessor.test_cfg``."""
        padding = getattr(self.data_preprocessor, 'test_cfg', None) or {}
        minimum = padding.get('size') or (1, 1)
        divisor = padding.get('size_divisor') or 1
        height, width = (
            max(-(-length // divisor) * divisor, wanted)
            for length, wanted in zip(image.shape[1:], minimum, strict=True)
        )
        return height, width

    def _predict_image(
        self,
        image: Tensor,
        prepare: Callable[[Tensor], Tensor],
        size: Size,
        sample: SegDataSample | None,
    ) -> SegDataSample:
        tiling = Tiling(
            tuple(self.test_cfg.crop_size),
            tuple(self.test_cfg.stride),
            self.test_cfg.get('batch_size', 1),
        )
        meta = {} if sample is None else sample.metainfo
        height, width = image.shape[1:]
        region = (0, height, 0, width) if size != (height, width) else _unpadded(meta, size)
        threshold = self.decode_head.threshold
        with show_progress(patience=PATIENCE) as progress:
            labels = predict_windows(
                tuple(size),
                lambda boxes: self._window_logits(image, boxes, prepare),
                tiling,
                region=region,
                out_size=meta.get('ori_shape'),
                align_corners=self.align_corners,
                threshold=0.5 if threshold is None else threshold,
                progress=progress if is_main_process() else no_progress,
            )
        sample = SegDataSample() if sample is None else sample
        sample.set_data({'pred_sem_seg': PixelData(data=_unflip(labels, meta).unsqueeze(0))})
        return sample

    def _window_logits(
        self, image: Tensor, boxes: Sequence[Box], prepare: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Logits ``(N, K, h, w)`` of windows of an image ``(C, H, W)``, padded beyond its edges."""
        top, bottom, left, right = boxes[0]
        fill = getattr(self.data_preprocessor, 'pad_val', 0)
        prepared = []
        for box in boxes:
            part = prepare(image[None, :, box[0] : box[1], box[2] : box[3]])
            missing = right - left - part.shape[3], bottom - top - part.shape[2]
            prepared.append(F.pad(part, (0, missing[0], 0, missing[1]), value=fill))
        batch = torch.cat(prepared)
        return self.encode_decode(batch, [{'img_shape': batch.shape[2:]}] * len(batch))


def _unpadded(meta: dict, size: Size) -> Box:
    """The image region of a padded input, from mmseg's padding (left, right, top, bottom)."""
    left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))
    return top, size[0] - bottom, left, size[1] - right


def _unflip(labels: Tensor, meta: dict) -> Tensor:
    if not meta.get('flip'):
        return labels
    return labels.flip(1 if meta.get('flip_direction') == 'horizontal' else 0)
