"""Hooks of a run."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from vil_mm.datasets.replay import mix_seeds, seed_everything


@HOOKS.register_module()
class SeedIterationHook(Hook):
    """Start the random generators of every training step from (run's seed, rank, iteration).

    With ``SeedAugmentation`` for the data, a resumed run repeats the uninterrupted one: drop path
    and dropout depend on nothing that a checkpoint does not hold. Both runs need the same seed:
    ``randomness=dict(seed=...)``.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        seed_everything(mix_seeds(runner.seed, get_rank(), runner.iter))


@HOOKS.register_module()
class RequireWeightsHook(Hook):
    """Fail when a checkpoint does not hold the weights that it was loaded for.

    mmengine loads with ``strict=False``: a file whose keys match nothing leaves random weights.

    Args:
        prefix: Weights whose names begin with it must all be there in the right shape; of the
            others at least the names are logged. '' requires every weight.
    """

    def __init__(self, prefix: str = 'backbone.') -> None:
        self.prefix = prefix
        self.loaded = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        stored = checkpoint.get('state_dict', checkpoint)
        stored = {key.removeprefix('module.'): value for key, value in stored.items()}
        own = _unwrap(runner.model).state_dict()
        missing = [key for key in own if key not in stored or not _fits(key, own, stored)]
        unused = [key for key in stored if key not in own]
        required = [key for key in missing if key.startswith(self.prefix)]
        if required or len(missing) == len(own):
            raise ValueError(
                f'the checkpoint {runner._load_from or ""} does not fit the model: it lacks, or '
                f'has in another shape, {_listed(required or missing)}; the model does not know '
                f'{_listed(unused)}. Is it a checkpoint of this config?'
            )
        if missing:
            runner.logger.warning(f'not in the checkpoint, left as initialised: {_listed(missing)}')
        if unused:
            runner.logger.warning(f'in the checkpoint, unknown to the model: {_listed(unused)}')
        self.loaded = True

    def before_train(self, runner: Runner) -> None:
        backbone = getattr(_unwrap(runner.model), 'backbone', None)
        if not self.loaded and 'Pretrained' not in str(getattr(backbone, 'init_cfg', None)):
            runner.logger.info('No weights are loaded: the model is trained from scratch')


def _unwrap(model: nn.Module) -> nn.Module:
    wrapped = is_model_wrapper(model) or isinstance(model, BaseTTAModel)
    return _unwrap(model.module) if wrapped else model


def _fits(key: str, own: Mapping, stored: Mapping) -> bool:
    # a position embedding is resized when it is loaded
    if key.endswith('pos_embed.embed'):
        return own[key].shape[-1] == stored[key].shape[-1]
    return own[key].shape == stored[key].shape


def _listed(keys: list[str]) -> str:
    lines = [f'\n    {key}' for key in keys[:20]]
    if len(keys) > 20:
        lines.append(f'\n    and {len(keys) - 20} more')
    return f'{len(keys)} weights{":" if keys else ""}' + ''.join(lines)
