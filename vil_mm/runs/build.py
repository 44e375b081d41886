"""Build a config's model, data sets and runner."""

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
from vil_mm.engine.stop_hook import StopOnSignalHook
from vil_mm.runs.data import NameFilesHook
from vil_mm.runs.host import explain_host_errors
from vil_mm.runs.runners import ShortFlexibleRunner, ShortRunner
from vil_mm.runs.tasks import find_task, registry_scope


def build_model(cfg: Config, device: str = 'cpu') -> nn.Module:
    """Build a config's model in evaluation mode, without loading pretrained weights.

    Raises:
        ValueError: The config has no model, the model cannot be built, or mmdetection is missing.
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
    """Build a config's model in evaluation mode and load a checkpoint.

    Args:
        cfg: A config of a whole model.
        checkpoint: A checkpoint of the whole model, or an official file of a classifier; None
            leaves the weights random.
        device: 'cpu' or 'cuda'.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        ValueError: The config has no model, or the weights do not match it (``CheckpointError``).
    """
    state = None if checkpoint is None else read_state_dict(checkpoint)
    model = build_model(cfg)
    if state is not None:
        load_whole(model, state, checkpoint)
    return model.to(device).eval()


def build_dataset(cfg: Config, phase: str) -> BaseDataset:
    """Build the data set of ``PHASE_dataloader``; it names the file if loading fails.

    Check its data first with :func:`vil_mm.runs.data.check_samples`.
    """
    with registry_scope(cfg):
        dataset = DATASETS.build(cfg[f'{phase}_dataloader'].dataset)
    name_files(dataset)
    return dataset


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """Build a prepared config's runner: mmengine's ``Runner``, or the type in ``runner_type``.

    mmengine's runners get a short screen output, see :mod:`vil_mm.runs.screen`.

    Raises:
        HostError: The work dir cannot be written.
    """
    kind = RUNNERS.get(cfg.get('runner_type', 'Runner'))
    shorter = {Runner: ShortRunner, FlexibleRunner: ShortFlexibleRunner}
    with explain_host_errors(cfg.work_dir):
        runner = shorter.get(kind, kind).from_cfg(cfg)
    runner.register_hook(NameFilesHook())
    runner.register_hook(StopOnSignalHook())
    return runner
