"""Training hooks: seeds, weights, batch size."""

from __future__ import annotations

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.optim import Optimizer

from vil_mm.checkpoints.matching import check_match, check_resumes
from vil_mm.checkpoints.reading import find_meta
from vil_mm.checkpoints.resumable import check_optimizer, check_resumable, check_schedulers
from vil_mm.datasets.replay import mix_seeds, seed_everything


@HOOKS.register_module()
class SeedIterationHook(Hook):
    """Seed the random generators at every training step from (run's seed, rank, iteration).

    Together with ``SeedAugmentation`` for the data, this makes a resumed run repeat the
    uninterrupted one, including drop path and dropout. Both runs need the same seed:
    ``randomness=dict(seed=...)``.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        seed_everything(mix_seeds(runner.seed, get_rank(), runner.iter))


@HOOKS.register_module()
class RequireWeightsHook(Hook):
    """Fail if a loaded checkpoint lacks weights of the model.

    mmengine loads with ``strict=False``: a file whose keys match nothing silently leaves random
    weights. This hook raises a ``CheckpointError``, which the tools print without a traceback.
    Resuming also requires the whole state of a run and equal shapes; when weights are only loaded,
    the position embedding is resized. If class names differ from those of the data, a warning is
    logged.

    Args:
        prefix: Weights whose names begin with this must all be present in the right shape; other
            missing names are only logged. '' requires every weight.
    """

    def __init__(self, prefix: str = 'backbone.') -> None:
        self.prefix = prefix
        self.loaded = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        source = runner._load_from or 'the checkpoint'
        stored = checkpoint.get('state_dict', checkpoint)
        own = unwrap(runner.model).state_dict()
        check_match(stored, own, source, prefix=self.prefix, logger=runner.logger)
        if getattr(runner, '_resume', False):
            check_resumes(stored, own, source)
            _check_state(runner, checkpoint, source)
        _warn_of_other_classes(runner, checkpoint, source)
        self.loaded = True

    def before_train(self, runner: Runner) -> None:
        backbone = getattr(unwrap(runner.model), 'backbone', None)
        if not self.loaded and 'Pretrained' not in str(getattr(backbone, 'init_cfg', None)):
            runner.logger.info('No weights are loaded: the model is trained from scratch')


@HOOKS.register_module()
class BatchSizeHook(Hook):
    """Warn if the batch size differs from the one that the recipe is tuned for.

    The batch size counts all processes and gradient accumulation, so the number of GPUs changes it
    silently. The expected one is the config's ``auto_scale_lr.base_batch_size``.
    """

    def before_train(self, runner: Runner) -> None:
        expected = runner.cfg.get('auto_scale_lr', {}).get('base_batch_size')
        processes = get_world_size()
        steps = getattr(runner.optim_wrapper, '_accumulative_counts', 1)  # DeepSpeed's has none
        batch = runner.cfg.train_dataloader.batch_size * processes * steps
        if expected and batch != expected and not runner.cfg.auto_scale_lr.get('enable'):
            own, rest = divmod(expected, processes * steps)
            fitting = '' if rest else f'set train_dataloader.batch_size={own}, or '
            runner.logger.warning(
                f'The batch has {batch} images ({processes} processes), the recipe is for '
                f'{expected}: {fitting}adapt the learning rate (--auto-scale-lr) and the number of '
                'updates'
            )


def _check_state(runner: Runner, checkpoint: dict, source: str) -> None:
    """Raise CheckpointError if the state is not the run's, where PyTorch would fail later."""
    if not isinstance(runner, Runner):  # a strategy's state has its own form
        return
    schedulers = runner.param_schedulers
    check_resumable(checkpoint, source, with_schedulers=bool(schedulers))
    if isinstance(getattr(runner.optim_wrapper, 'optimizer', None), Optimizer):
        check_optimizer(checkpoint['optimizer'], runner.optim_wrapper.optimizer, source)
    if isinstance(schedulers, list):
        check_schedulers(checkpoint['param_schedulers'], schedulers, source)


def _warn_of_other_classes(runner: Runner, checkpoint: dict, source: str) -> None:
    """Warn if the checkpoint's class names, or in a test their number, differ from the data's."""
    loops = [getattr(runner, f'_{name}_loop', None) for name in ('train', 'test', 'val')]
    loop = next((x for x in loops if isinstance(x, BaseLoop)), None)
    here = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
    here = getattr(here, 'metainfo', None) or {}
    there = (find_meta(checkpoint).get('dataset_meta') or {}).get('classes') or ()
    names = here.get('classes') or ()
    if not there or not names or 'class_indices' in here or list(there) == list(names):
        return
    if len(there) == len(names):
        other = [i for i, pair in enumerate(zip(there, names, strict=True)) if len(set(pair)) > 1]
        first = other[0]
        runner.logger.warning(
            f'{source} was trained for other classes than those of the data: {len(other)} of '
            f'{len(names)} names differ, the first is {first}: {there[first]!r} in the checkpoint, '
            f'{names[first]!r} in the data'
        )
    elif loop is not loops[0]:
        runner.logger.warning(
            f'{source} was trained for {len(there)} classes, the data has {len(names)}'
        )


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside wrappers for distributed training and test-time augmentation."""
    wrapped = is_model_wrapper(model) or isinstance(model, BaseTTAModel)
    return unwrap(model.module) if wrapped else model
