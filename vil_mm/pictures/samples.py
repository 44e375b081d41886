"""Inputs of pictures: a model with its weights, and images as the model receives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import Tensor, nn

from vil_mm.datasets.reading import ImageReader, Look, apply
from vil_mm.models import VisionLSTM
from vil_mm.runs.tasks import registry_scope


class Sample(NamedTuple):
    """One image, as the model's input and as a picture."""

    name: str
    inputs: Tensor  # (1, C, H, W), resized, normalised and padded
    picture: np.ndarray  # (H, W, 3) in [0, 1], RGB: the input without normalisation


def find_backbone(model: nn.Module) -> VisionLSTM:
    """The ViL backbone of a model whose tokens form a grid.

    Raises:
        ValueError: The model has another backbone, or a class token among its tokens.
    """
    backbone = getattr(model, 'backbone', model)
    if not isinstance(backbone, VisionLSTM):
        raise ValueError(
            f'this picture shows layers of a VisionLSTM; the backbone of the config is '
            f'{type(backbone).__name__}'
        )
    if backbone.cls_token is not None:
        raise ValueError(
            "out_type='middle_cls' adds a class token, so the tokens form no grid to draw; use a "
            'config with another out_type'
        )
    return backbone


def list_layers(backbone: VisionLSTM) -> list[nn.Module]:
    """The directed layers that a backbone runs, in order."""
    blocks = backbone.blocks[: backbone.out_indices[-1] + 1]
    return [layer for block in blocks for layer in block.layers]


def read_samples(
    model: nn.Module,
    cfg: Config,
    paths: Sequence[Path],
    shape: tuple[int, int] | None = None,
) -> list[Sample]:
    """Read images by the test pipeline of a config and the model's preprocessing.

    Args:
        model: A segmentor or classifier.
        cfg: Its config.
        paths: Image files.
        shape: (H, W) in pixels to resize to, instead of the pipeline's resizing; the aspect ratio
            is not kept.

    Raises:
        ValueError: A file is not an image, or the config has no test pipeline.
    """
    device = next(model.parameters()).device
    with registry_scope(cfg):
        pipeline = Compose(_pipeline(cfg, shape))
        reader = ImageReader(pipeline.transforms)
        # read separately first: the pipeline's errors do not name the file
        looks = [reader.look(reader.read(str(path))['img']) for path in paths]
        return [
            _sample(model, pipeline, path, device, look)
            for path, look in zip(paths, looks, strict=True)
        ]


def _sample(
    model: nn.Module, pipeline: Compose, path: Path, device: torch.device, look: Look
) -> Sample:
    packed = {'img_path': str(path)}
    for transform in pipeline.transforms:
        packed = apply(transform, packed)
    batch = {'inputs': [packed['inputs']], 'data_samples': [packed['data_samples']]}
    inputs = model.data_preprocessor(batch, False)['inputs'].to(device)
    mean, std = (
        getattr(model.data_preprocessor, name, default).cpu()
        for name, default in (('mean', torch.zeros(1)), ('std', torch.ones(1)))
    )
    pixels = (inputs[0].cpu() * std + mean).permute(1, 2, 0).numpy()
    if len(packed['inputs']) == 3 and _swaps_channels(model.data_preprocessor):
        look = look._replace(rgb=[2 - channel for channel in look.rgb])
    return Sample(path.name, inputs, look.picture(pixels) / 255)


def _swaps_channels(preprocessor: nn.Module) -> bool:
    """Whether it converts BGR to RGB, under mmseg's or mmpretrain's attribute."""
    return bool(
        getattr(preprocessor, '_channel_conversion', getattr(preprocessor, 'to_rgb', False))
    )


def _pipeline(cfg: Config, shape: tuple[int, int] | None) -> list[dict]:
    """The transforms of the config's test data, without those that read labels."""
    loader = cfg.get('test_dataloader') or {}
    pipeline = (loader.get('dataset') or {}).get('pipeline')
    if not pipeline:
        raise ValueError(f'{cfg.filename}: no test_dataloader.dataset.pipeline to read images by')
    steps = [dict(step) for step in pipeline if 'LoadAnnotations' not in step['type']]
    if shape is None:
        return steps
    return [steps[0], {'type': 'Resize', 'scale': shape[::-1], 'keep_ratio': False}, steps[-1]]


def describe_weights(checkpoint: str | None) -> str:
    """The weights, for the title of a picture."""
    return 'random weights' if checkpoint is None else Path(checkpoint).name
