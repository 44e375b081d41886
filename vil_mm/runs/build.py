"""Build what a config describes: its model, a data set, its runner."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, RUNNERS
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from vil_mm.checkpoints.matching import load_whole
from vil_mm.checkpoints.reading import read_state_dict
from vil_mm.datasets.checks import name_files
from vil_mm.runs.data import NameFilesHook
from vil_mm.runs.screen import ShortFlexibleRunner, ShortRunner
from vil_mm.runs.tasks import find_task, registry_scope


def build_model(cfg: Config, device: str = 'cpu') -> nn.Module:
    """The model of a config in evaluation mode; weights that it names are not loaded.

    Raises:
        ValueError: The config has no model, its model cannot be built, or it is a detector and
            mmdetection is missing.
    """
    find_task(cfg).prepare(cfg)
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
        with registry_scope(cfg):
            model = MODELS.build(spec)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{cfg.filename}: its model cannot be built: {error}') from error
    return revert_sync_batchnorm(model).to(device).eval()


def load_model(cfg: Config, checkpoint: str | None, device: str = 'cpu') -> nn.Module:
    """The model of a config with a checkpoint's weights, or with random ones, in evaluation mode.

    Args:
        cfg: A config of a whole model.
        checkpoint: A checkpoint of the whole model, or an official file of a classifier; ``None``
            leaves the weights random.
        device: 'cpu' or 'cuda'.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The config has no model, or the weights do not fit it (``CheckpointError``).
    """
    state = None if checkpoint is None else read_state_dict(checkpoint)
    model = build_model(cfg)
    if state is not None:
        load_whole(model, state, checkpoint)
    return model.to(device).eval()


def build_dataset(cfg: Config, phase: str) -> BaseDataset:
    """The data set of ``PHASE_dataloader``, which names a file at which it fails.

    Its data have been checked, see :func:`vil_mm.runs.data.check_samples`.
    """
    with registry_scope(cfg):
        dataset = DATASETS.build(cfg[f'{phase}_dataloader'].dataset)
    name_files(dataset)
    return dataset


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """The runner of a prepared config: mmengine's ``Runner``, or what ``runner_type`` names.

    Those of mmengine show less on the screen than they log, see :mod:`vil_mm.runs.screen`.
    """
    kind = RUNNERS.get(cfg.get('runner_type', 'Runner'))
    shorter = {Runner: ShortRunner, FlexibleRunner: ShortFlexibleRunner}
    runner = shorter.get(kind, kind).from_cfg(cfg)
    runner.register_hook(NameFilesHook())
    return runner
