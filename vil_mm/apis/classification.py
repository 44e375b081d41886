"""Image classification with mmpretrain's inferencer."""

from __future__ import annotations

from collections.abc import Sequence
from logging import WARNING
from pathlib import Path

import mmcv
import numpy as np
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.structures import DataSample

from vil_mm.apis.inputs import ImageInputs, check_class_names, one_at_a_time
from vil_mm.checkpoints.matching import load_whole
from vil_mm.checkpoints.reading import find_meta, find_state_dict, read_checkpoint
from vil_mm.engine.captions import draw_classes
from vil_mm.files import atomic_write
from vil_mm.runs.devices import check_device
from vil_mm.runs.reading import read_config
from vil_mm.runs.tasks import classification, find_task


class ClsInferencer(ImageInputs, ImageClassificationInferencer):
    """mmpretrain's inferencer for models of this package's zoo and any config file.

    ``ClsInferencer('vil_t_in1k_eval', 'vil2_tiny16_e800_in1k.th')('dog.jpg')`` returns a list with
    one dict per image: ``pred_class``, ``pred_label``, ``pred_score`` and ``pred_scores``; see
    ``ImageClassificationInferencer.__call__``. Differences from the parent:

    - names refer to this package's zoo;
    - official weights need no conversion;
    - weights that do not match the model are rejected, and so are files that hold more than data;
    - files are read by the config's test pipeline, with any number of bands; arrays must match what
      it would load;
    - folders may hold other files; unreadable images are skipped, logged and listed in
      ``unreadable``;
    - pictures are named ``<show_dir>/<image name>.png`` and show class names.

    Args:
        model: Name of a model of the zoo, or path of a config file.
        weights: A checkpoint of the model, or an official file. Without one, the weights are
            random, which is logged.
        device: 'cpu', 'cuda', ...; by default the best available.
        classes: Class names; by default those of the checkpoint or the config's data set.
        cfg_options: Overrides of the config.

    Raises:
        FileNotFoundError: The config or the weights do not exist.
        ValueError: No model has that name, the config is not for a classifier, or the weights do
            not match it (``CheckpointError``).
    """

    @one_at_a_time
    def __init__(
        self,
        model: str | Path,
        weights: str | Path | None = None,
        device: str | None = None,
        *,
        classes: Sequence[str] | None = None,
        cfg_options: dict | None = None,
    ) -> None:
        device = device or get_device()
        check_device(device)
        cfg = read_config(model, options=cfg_options)
        if find_task(cfg) is not classification:
            raise ValueError(
                f'{model} is not for classification; use SegInferencer for segmentation'
            )
        content = None if weights is None else read_checkpoint(str(weights))
        cfg.model.backbone.init_cfg = None
        with DefaultScope.overwrite_default_scope('mmpretrain'):  # for the parent
            super().__init__(cfg, pretrained=False, device=device, classes=classes)
        if content is None:
            print_log('No weights given: predicting with random ones', 'current', WARNING)
        else:
            load_whole(self.model, find_state_dict(content, str(weights)), str(weights))
        noted = find_meta(content).get('dataset_meta') or {}
        check_class_names(noted.get('classes'), cfg.model.head.get('num_classes', 0), str(weights))
        self.classes = classes or noted.get('classes') or self.classes

    def __call__(
        self,
        inputs: str | Path | np.ndarray | list,
        return_datasamples: bool = False,
        batch_size: int = 1,
        **kwargs,
    ) -> list:
        """As the parent, whose progress bar fails when several threads share it."""
        parts = self._dispatch_kwargs(**kwargs)
        images = self._inputs_to_list(inputs)
        batches = self.preprocess(images, batch_size)
        samples = [sample for batch in batches for sample in self.forward(batch)]
        pictures = self.visualize(images, samples, **parts[2])
        return self.postprocess(samples, pictures, return_datasamples)

    def draw(
        self,
        image: str | Path | np.ndarray,
        *,
        side_by_side: bool = False,
        fixed_size: bool = False,
    ) -> np.ndarray:
        """Classify an image and write the class over it.

        Args:
            image: A file, or an array as the pipeline loads it, usually ``(H, W, 3)``, uint8, BGR.
            side_by_side: Show the image next to the result.
            fixed_size: As in ``SegInferencer.draw``; has no effect here.

        Returns:
            The picture ``(H', W', 3)`` or, side by side, ``(H', 2 W', 3)``, uint8, RGB; images less
            than 224 pixels high are enlarged.
        """
        (sample,) = self.forward(self.collate([self.pipeline(image)]))
        image = self.to_picture(image)
        picture = draw_classes(image, sample, self.classes, draw_gt=False)
        if not side_by_side:
            return picture
        return np.concatenate((draw_classes(image, DataSample()), picture), axis=1)

    def visualize(
        self,
        ori_inputs: list,
        preds: list[DataSample],
        show: bool = False,
        wait_time: float = 0,
        show_dir: str | Path | None = None,
        **_: object,
    ) -> list[np.ndarray] | None:
        """As the parent, but pictures are named ``<show_dir>/<image name>.png``."""
        if not show and show_dir is None:
            return None
        pictures = []
        for image, sample, name in zip(ori_inputs, preds, self.list_names(ori_inputs), strict=True):
            picture = draw_classes(self.to_picture(image), sample, self.classes, draw_gt=False)
            if show:
                Visualizer().show(picture, win_name=str(name), wait_time=wait_time)
            if show_dir is not None:
                with atomic_write(Path(show_dir, f'{name}.png')) as unfinished:
                    mmcv.imwrite(mmcv.rgb2bgr(picture), str(unfinished))
            pictures.append(picture)
        return pictures

    def collate(self, samples: list[dict]) -> dict:
        """Collate outputs of the pipeline into a batch."""
        return default_collate(samples)
