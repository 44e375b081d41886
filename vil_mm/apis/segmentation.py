"""Semantic segmentation with mmsegmentation's inferencer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import WARNING
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmseg.apis import MMSegInferencer
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from torch import nn

from vil_mm.apis.inputs import ImageInputs, check_class_names, find_model_scope, one_at_a_time
from vil_mm.checkpoints.matching import load_whole
from vil_mm.checkpoints.reading import find_meta, find_state_dict, read_checkpoint
from vil_mm.engine.visualizer import default_palette
from vil_mm.files import atomic_write
from vil_mm.models.segmentors import TiledEncoderDecoder
from vil_mm.runs.devices import check_device
from vil_mm.runs.reading import read_config

LEGEND_LINES = 3  # of fixed-size pictures
LOGITS_LIMIT = 2 * 1024**3  # bytes of one image's logits above which it is predicted in tiles


class SegInferencer(ImageInputs, MMSegInferencer):
    """mmsegmentation's inferencer for models of this package's zoo and any config file.

    ``SegInferencer('upernet_vil_t_512x512_ade20k', 'CHECKPOINT')('street.jpg', out_dir='out')``
    segments an image, a list of images (files or arrays ``(H, W, 3)`` in BGR) or a folder, and
    writes pictures and label maps; see ``MMSegInferencer.__call__``. Differences from the parent:

    - names refer to this package's zoo;
    - weights that do not match the model are rejected, and so are files that hold more than data;
    - class names come from the checkpoint or, without one, from the config's data set;
    - files are read by the config's test pipeline, with any number of bands; arrays must match what
      it would load;
    - folders may hold other files; unreadable images are skipped, logged and listed in
      ``unreadable``;
    - outputs are named after the images, ``vis/<image name>`` and ``pred/<image name>.png``;
    - images whose logits would take more than 2 GiB are predicted in tiles, see
      ``TiledEncoderDecoder``.

    Args:
        model: Name of a model of the zoo, or path of a config file.
        weights: A checkpoint of the model. Without one, the weights are random, which is logged.
        device: 'cpu', 'cuda', ...; by default the best available.
        full_size: Skip the test pipeline's resizing and predict in windows of the training size,
            for images much larger than those of the training.
        cfg_options: Overrides of the config, as ``{'model.test_cfg.mode': 'whole'}``.
        show_progress: Show a progress bar.

    Raises:
        FileNotFoundError: The config or the weights do not exist.
        ValueError: No model has that name, the config is not for segmentation, or the weights do
            not match it (``CheckpointError``). Calls raise it for files that are not images and for
            images that do not match the model.
    """

    @one_at_a_time
    def __init__(
        self,
        model: str | Path,
        weights: str | Path | None = None,
        device: str | None = None,
        *,
        full_size: bool = False,
        cfg_options: dict | None = None,
        show_progress: bool = True,
    ) -> None:
        device = device or get_device()
        check_device(device)
        cfg = read_config(model, options=cfg_options)
        if 'decode_head' not in (cfg.get('model') or {}):
            raise ValueError(f'{model} is not for segmentation; use ClsInferencer for classifiers')
        self.weights = None if weights is None else str(weights)
        self.checkpoint = None if weights is None else read_checkpoint(self.weights)
        cfg.visualizer = ConfigDict(type='SegPanelVisualizer', name='inference')
        cfg.model.backbone.init_cfg = None
        _use_windows(cfg, full_size)
        scope = find_model_scope(cfg, 'mmseg')
        with DefaultScope.overwrite_default_scope(scope):
            super().__init__(cfg, device=device, scope=scope, show_progress=False)
        self.with_bar = show_progress
        self.visualizer.set_dataset_meta(**self.model.dataset_meta)
        self.checkpoint = None

    def draw(
        self,
        image: str | Path | np.ndarray,
        *,
        side_by_side: bool = False,
        fixed_size: bool = False,
    ) -> np.ndarray:
        """Segment an image and draw the classes over it, with a legend.

        Args:
            image: A file, or an array as the pipeline loads it, usually ``(H, W, 3)``, uint8, BGR.
            side_by_side: Show the image next to the result.
            fixed_size: Limit the legend to three lines, the largest classes first, so that all
                frames of a video have the same size.

        Returns:
            The picture ``(H', W', 3)``, uint8, RGB.
        """
        (sample,) = self.forward(self.collate([self.pipeline(image)]))
        return self.visualizer.compose(
            self.to_picture(image),
            sample,
            with_image=side_by_side,
            legend_lines=LEGEND_LINES if fixed_size else None,
        )

    def visualize(
        self,
        inputs: list,
        preds: list[SegDataSample],
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        img_out_dir: str = '',
        opacity: float = 0.8,
        with_labels: bool = True,
    ) -> list[np.ndarray] | None:
        """As the parent, but pictures are named ``<img_out_dir>/<image name>``."""
        self._call.names = names = self.list_names(inputs)
        if not (return_vis or show or img_out_dir):
            return None
        if not 0 <= opacity <= 1:
            raise ValueError(f'opacity must be from 0 to 1, got {opacity}')
        pictures = []
        for image, sample, name in zip(inputs, preds, names, strict=True):
            picture = self.visualizer.compose(
                self.to_picture(image),
                sample,
                draw_gt=False,
                with_labels=with_labels,
                alpha=opacity,
            )
            if show:
                self.visualizer.show(picture, win_name=str(name), wait_time=wait_time)
            if img_out_dir:
                suffix = Path(image).suffix if isinstance(image, str) else '.png'
                _write(mmcv.rgb2bgr(picture), Path(img_out_dir, f'{name}{suffix}'))
            pictures.append(picture)
        return pictures if return_vis else None

    def postprocess(
        self,
        preds: list[SegDataSample],
        visualization: list[np.ndarray] | None,
        return_datasample: bool = False,
        pred_out_dir: str = '',
    ) -> dict | SegDataSample | list[SegDataSample]:
        """As the parent, but label maps are named ``<pred_out_dir>/<image name>.png``."""
        for sample, name in zip(preds if pred_out_dir else [], self._call.names, strict=False):
            labels = sample.pred_sem_seg.data[0].cpu().numpy()
            labels = labels.astype(np.uint8 if self._num_labels <= 256 else np.uint16)
            _write(labels, Path(pred_out_dir, f'{name}.png'))
        return super().postprocess(preds, visualization, return_datasample)

    def forward(self, inputs: dict, **kwargs) -> Sequence[SegDataSample]:
        """Predict a batch: images of different sizes one by one, large ones in tiles."""
        if len({image.shape for image in inputs['inputs']}) > 1:
            alone = zip(inputs['inputs'], inputs['data_samples'], strict=True)
            batches = [{'inputs': [image], 'data_samples': [sample]} for image, sample in alone]
            return [self.forward(batch, **kwargs)[0] for batch in batches]
        test_cfg = self.model.test_cfg
        can_tile = isinstance(self.model, TiledEncoderDecoder) and test_cfg.mode != 'tiled'
        size = self._logits_bytes(inputs) if can_tile else 0
        if size <= LOGITS_LIMIT:
            return super().forward(inputs, **kwargs)
        print_log(
            f'The logits of this image would take {size / 1024**3:.1f} GiB: predicting in tiles of '
            f'{test_cfg.crop_size}',
            logger='current',
        )
        with torch.no_grad():
            return self.model.predict_tiled(inputs)  # not by test_cfg, which other threads read

    def _logits_bytes(self, inputs: dict) -> int:
        """Bytes of an image's logits, at the larger of its input size and its original size."""
        fed = [image.shape[-2:] for image in inputs['inputs']]
        original = [sample.ori_shape for sample in inputs['data_samples']]
        pixels = max(height * width for height, width in [*fed, *original])
        head = self.model.decode_head
        head = head[-1] if isinstance(head, nn.ModuleList) else head  # of a cascade, the last
        return 4 * head.out_channels * pixels

    def _load_weights_to_model(self, model: nn.Module, _: None, cfg: ConfigDict) -> None:
        meta = {}  # the parent would load the file again, without the safety check
        if self.checkpoint is None:
            print_log('No weights given: predicting with random ones', 'current', WARNING)
        else:
            load_whole(model, find_state_dict(self.checkpoint, self.weights), self.weights)
            meta = find_meta(self.checkpoint)
            names = (meta.get('dataset_meta') or {}).get('classes')
            check_class_names(names, model.num_classes, self.weights)
        model.dataset_meta = _find_dataset_meta(meta.get('dataset_meta'), cfg, model)

    @property
    def _num_labels(self) -> int:
        return max(self.model.num_classes, 2)

    def _init_collate(self, cfg: ConfigDict) -> Callable:
        return pseudo_collate  # the parent would warn

    def collate(self, samples: list[dict]) -> dict:
        """Collate outputs of the pipeline into a batch."""
        return pseudo_collate(samples)


def _use_windows(cfg: Config, full_size: bool) -> None:
    """Enable prediction in tiles and, for ``full_size``, switch on windows."""
    model, test_cfg = cfg.model, cfg.model.setdefault('test_cfg', ConfigDict(mode='whole'))
    if model.type.removeprefix('mmseg.') == 'EncoderDecoder':
        model.type = 'TiledEncoderDecoder'
    if not test_cfg.get('crop_size'):
        size = (model.get('data_preprocessor') or {}).get('size') or (512, 512)
        test_cfg.update(crop_size=tuple(size), stride=tuple(2 * side // 3 for side in size))
    if full_size:
        test_cfg.mode = 'slide'
        pipeline = cfg.test_dataloader.dataset.pipeline
        cfg.test_dataloader.dataset.pipeline = [x for x in pipeline if 'Resize' not in x.type]


def _find_dataset_meta(noted: dict | None, cfg: ConfigDict, model: nn.Module) -> dict:
    """Classes and palette from the checkpoint, else from the test data set, else defaults."""
    dataset = cfg.test_dataloader.dataset
    known = getattr(DATASETS.get(dataset.type), 'METAINFO', {})
    meta = noted or {**known, **(dataset.get('metainfo') or {})}
    count = max(model.num_classes, 2)
    classes = meta.get('classes') or [f'class {i}' for i in range(count)]
    palette = meta.get('palette') or []
    palette = palette if len(palette) == len(classes) else default_palette(len(classes))
    return {**meta, 'classes': classes, 'palette': palette}


def _write(picture: np.ndarray, path: Path) -> None:
    with atomic_write(path) as unfinished:
        mmcv.imwrite(picture, str(unfinished))
