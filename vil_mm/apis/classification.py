"""Classification of images, by mmpretrain's inferencer."""

from __future__ import annotations

from collections.abc import Sequence
from logging import WARNING
from pathlib import Path

import mmcv
import numpy as np
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.visualization import UniversalVisualizer

from vil_mm.analysis.whole_model import check_device
from vil_mm.apis.inputs import ImageInputs
from vil_mm.datasets.images import read_image
from vil_mm.engine.launch import read_config
from vil_mm.models.fit import load_whole
from vil_mm.models.pretrained import meta_of, read_checkpoint, state_dict_of


class ClsInferencer(ImageInputs, ImageClassificationInferencer):
    """mmpretrain's inferencer for models of this package's zoo, and any config file.

    ``ClsInferencer('vil_t_in1k_eval', 'vil2_tiny16_e800_in1k.th')('dog.jpg')`` gives a list with
    one dict an image: ``pred_class``, ``pred_label``, ``pred_score`` and ``pred_scores``; see
    ``ImageClassificationInferencer.__call__``. What differs from the parent:

    - names are looked up in this package's zoo;
    - the authors' files can be named as they are;
    - weights that do not fit the model are refused, and files that are more than data;
    - a folder may hold other files than images.

    Args:
        model: A name of the zoo or the path of a config file.
        weights: A checkpoint of the model, or a file of the authors' release. Without one the
            weights are random, and a line says so.
        device: 'cpu', 'cuda', ...; by default the best that there is.
        classes: Names of the classes; by default those of the checkpoint or the config's data set.
        cfg_options: Overrides of the config.

    Raises:
        FileNotFoundError: The config or the weights are not there.
        ValueError: No model has that name, the config is not one of a classifier, or the weights
            do not fit it (``CheckpointError``).
    """

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
        if cfg.get('default_scope') != 'mmpretrain' or 'model' not in cfg:
            raise ValueError(f"{model} is no classifier's config; of segmentation: SegInferencer")
        content = None if weights is None else read_checkpoint(str(weights))
        cfg.model.backbone.init_cfg = None
        with DefaultScope.overwrite_default_scope('mmpretrain'):  # the parent takes what is there
            super().__init__(cfg, pretrained=False, device=device, classes=classes)
        if content is None:
            print_log('No weights: the classifier predicts by random ones', 'current', WARNING)
        else:
            load_whole(self.model, state_dict_of(content, str(weights)), str(weights))
        noted = meta_of(content).get('dataset_meta') or {}
        self.classes = classes or noted.get('classes') or self.classes

    def draw(
        self,
        image: str | Path | np.ndarray,
        *,
        side_by_side: bool = False,
        fixed_size: bool = False,
    ) -> np.ndarray:
        """Classify one image and write the class over it.

        Args:
            image: File, or array ``(H, W, 3)``, uint8, BGR.
            side_by_side: Put the image itself beside the result.
            fixed_size: As of ``SegInferencer.draw``; pictures have the image's size in any case.

        Returns:
            The picture ``(H, W, 3)`` or, side by side, ``(H, 2 W, 3)``, uint8, RGB.
        """
        image = image if isinstance(image, np.ndarray) else read_image(image)
        (sample,) = self.forward(next(iter(self.preprocess([image]))))
        image = mmcv.bgr2rgb(image)
        picture = UniversalVisualizer().visualize_cls(
            image, sample, classes=self.classes, draw_gt=False
        )
        return np.concatenate((image, picture), axis=1) if side_by_side else picture
