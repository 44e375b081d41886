"""A config's model with random weights, inputs for it, and its data sets: what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import Tensor, nn

from vil_mm.datasets.checks import name_files
from vil_mm.engine.detection import check_detection, is_detection


def check_device(device: str) -> None:
    """Fail in one line if a device is asked for that is not there.

    Raises:
        ValueError: It is no device's name, or of CUDA and there is no such GPU.
    """
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'--device {device}: expected cpu, cuda, cuda:1, mps, ...') from error
    if asked.type == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'--device {device}: PyTorch finds no GPU here; take --device cpu')
    if asked.type == 'cuda' and (asked.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f'--device {device}: the GPUs here are numbered 0 to {count - 1}')


def default_device() -> str:
    """'cuda' where PyTorch finds a GPU, else 'cpu'."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def build_model(cfg: Config, device: str = 'cpu') -> nn.Module:
    """The model of a config in evaluation mode; weights that it names are not loaded.

    Raises:
        ValueError: The config has no model, its model cannot be built, or it is a detector and
            mmdetection is missing.
    """
    if is_detection(cfg):
        check_detection(cfg)
    if not cfg.get('model'):
        raise ValueError(f'{cfg.filename}: no model; name a config of a whole model')
    spec = cfg.model.copy()
    for options in (spec, spec.get('backbone') or {}):
        for name in ('pretrained', 'init_cfg'):
            if name in options:
                options[name] = None
    if 'data_preprocessor' not in spec and 'data_preprocessor' in cfg:
        spec['data_preprocessor'] = cfg.data_preprocessor
    try:
        with scope_of(cfg):
            model = MODELS.build(spec)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{cfg.filename}: its model cannot be built: {error}') from error
    return revert_sync_batchnorm(model).to(device).eval()


def build_dataset(cfg: Config, phase: str) -> BaseDataset:
    """The data set of ``PHASE_dataloader``, which names a file at which it fails.

    Its data have been checked, see :func:`vil_mm.engine.data.check_samples`.
    """
    with scope_of(cfg):
        dataset = DATASETS.build(cfg[f'{phase}_dataloader'].dataset)
    name_files(dataset)
    return dataset


@contextmanager
def scope_of(cfg: Config) -> Iterator[None]:
    """The registry scope in which a config's types are looked up."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
        yield


def refuse_detection(cfg: Config) -> None:
    """Fail if a config is for mmdetection, whether that is installed or not.

    Raises:
        ValueError: It is.
    """
    if is_detection(cfg):
        raise ValueError(
            f'{cfg.filename} is for detection, this tool is for segmentation and classification; '
            'tools/test.py CONFIG CHECKPOINT --show-dir DIR draws what a detector finds'
        )


@contextmanager
def size_named(shape: tuple[int, int]) -> Iterator[None]:
    """What fails because a model does not run at a size says so in one line.

    Raises:
        ValueError: In place of what is raised inside; lack of a GPU's memory stays what it is.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f'the model does not run at {shape[0]} x {shape[1]}: {line}') from error


def random_images(model: nn.Module, shape: tuple[int, int], batch_size: int, device: str) -> Tensor:
    """Normal noise ``(B, C, H, W)`` for a model, as images are once they are normalised."""
    return torch.randn(batch_size, image_channels(model), *shape, device=device)


def image_channels(model: nn.Module) -> int:
    """C of the images that a model takes: of its backbone's first convolution, 3 without one."""
    backbone = getattr(model, 'backbone', model)
    layers = (x for x in backbone.modules() if isinstance(x, nn.Conv2d))
    return next((layer.in_channels for layer in layers), 3)


def kind_of(model: nn.Module) -> str:
    """'segmentor', 'classifier' or 'detector'.

    Raises:
        ValueError: It is none of them.
    """
    if hasattr(model, 'decode_head'):
        return 'segmentor'
    if hasattr(model, 'bbox_head') or hasattr(model, 'rpn_head') or hasattr(model, 'roi_head'):
        return 'detector'
    if hasattr(model, 'head') and hasattr(model, 'backbone'):
        return 'classifier'
    raise ValueError(f'{type(model).__name__} is no segmentor, classifier or detector')


def num_parameters(model: nn.Module) -> int:
    """Trained or not."""
    return sum(parameter.numel() for parameter in model.parameters())
