"""Match a checkpoint with a model: loading with ``strict=False`` hides missing weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from vil_mm.checkpoints import is_official
from vil_mm.checkpoints.loading import ask_to_convert, convert, tell_apart
from vil_mm.checkpoints.reading import CheckpointError

# last layers of mmpretrain's, mmsegmentation's and mmdetection's heads
_CLASSIFIER = re.compile(r'\b(head|fc|conv_seg|fc_cls)\.weight$')


def load_whole(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load all weights of a model, or fail; official weights of a classifier are converted.

    Args:
        model: Any model.
        state: State dict of the checkpoint; names may begin with 'module.', added by wrappers for
            distributed training.
        source: The checkpoint's name, for messages.

    Raises:
        CheckpointError: A weight is missing or has another shape, or the weights are official and
            the model is not a classifier.
    """
    if is_official(state) and hasattr(model, 'head'):
        state = convert(state, source)
    state = _plain(state)
    check_match(state, model.state_dict(), source)
    model.load_state_dict(state, strict=False)  # unused weights have been logged


def check_match(
    stored: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    source: str,
    *,
    prefix: str = '',
    logger: object = 'current',
) -> None:
    """Fail if a checkpoint lacks weights that a model needs; log other mismatches.

    Args:
        stored: State dict of the checkpoint.
        own: State dict of the model.
        source: The checkpoint's name, for messages.
        prefix: Weights whose names begin with this must all be present in the right shape; of the
            others at least one. '' requires every weight.
        logger: As in mmengine's ``print_log``.

    Raises:
        CheckpointError: Weights are missing; the message lists them or names the other model.
    """
    stored = _plain(stored)
    if is_official(stored):
        raise CheckpointError(ask_to_convert(source, source))
    missing = [key for key in own if key not in stored or not _matches(key, own, stored)]
    unused = [key for key in stored if key not in own]
    required = [key for key in missing if key.startswith(prefix)]
    other = tell_apart(stored, own)  # a deeper model holds all required weights, and more
    if other or required or len(missing) == len(own):
        needed = required or missing
        why = other or _class_counts(needed, own, stored)
        why = why or f'{len(needed)} of {len(own)} weights are missing or have another shape'
        raise CheckpointError(
            f'{source} does not fit the model: {why}. Is it a checkpoint of this config?\n'
            f'missing in the checkpoint, or of another shape: {_listed(needed)}\n'
            f'unknown to the model: {_listed(unused)}'
        )
    if missing:
        why = _class_counts(missing, own, stored)
        why = f' ({why})' if why else ''
        _warn(f'not in {source}, left as initialised{why}: {_listed(missing)}', logger)
    if unused:
        _warn(f'in the checkpoint, unknown to the model: {_listed(unused)}', logger)


def check_resumes(stored: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
    """Fail if shapes of weights differ from the model's.

    Loading would resize the weights, but not the optimizer's state.

    Raises:
        CheckpointError: A shape differs; the message names the first weight and both shapes.
    """
    stored = _plain(stored)
    other = [key for key in own if key in stored and stored[key].shape != own[key].shape]
    if other:
        there, here = (tuple(state[other[0]].shape) for state in (stored, own))
        raise CheckpointError(
            f'{source} cannot be resumed: {other[0]} has the shape {there} in the checkpoint and '
            f'{here} in the model (another img_size?); resume with the config of the run (a copy '
            'is in its work dir), or start a new run from its weights, which are resized: set '
            'load_from=FILE and another work_dir'
        )


def _plain(state: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors, without the prefix of wrappers for distributed training."""
    tensors = {key: x for key, x in state.items() if isinstance(x, Tensor)}
    return {key.removeprefix('module.'): x for key, x in tensors.items()}


def _warn(message: str, logger: object) -> None:
    print_log(message, logger=logger, level=logging.WARNING)


def _matches(key: str, own: Mapping, stored: Mapping) -> bool:
    there, here = stored[key].shape, own[key].shape
    if key.endswith('pos_embed.embed'):  # it is resized when it is loaded
        return len(there) == 4 and there[0] == 1 and there[-1] == here[-1] and 0 not in there
    return there == here


def _class_counts(keys: list[str], own: Mapping, stored: Mapping) -> str:
    """Describe classifiers among these weights that have another number of classes."""
    return '; '.join(
        f'{key} is for {len(stored[key])} classes in the checkpoint, {len(own[key])} in the model'
        for key in keys
        if _CLASSIFIER.search(key)
        and key in stored
        and stored[key].dim() == own[key].dim()
        and len(own[key]) != len(stored[key])
        and own[key].shape[1:] == stored[key].shape[1:]
    )


def _listed(keys: list[str]) -> str:
    lines = [f'\n    {key}' for key in keys[:20]]
    if len(keys) > 20:
        lines.append(f'\n    and {len(keys) - 20} more')
    return f'{len(keys)} weights{":" if keys else ""}' + ''.join(lines)
