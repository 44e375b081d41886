"""Check that a training can be resumed from a checkpoint, before mmengine takes it apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from mmengine.logging import HistoryBuffer
from torch import Tensor
from torch.optim import Optimizer

from vil_mm.checkpoints.reading import CheckpointError, find_problem, shown

MOMENTS = ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer')  # shaped as the weight
_LARGEST = 2**63  # of seeds and counts


def check_resumable(content: object, source: str, *, with_schedulers: bool = True) -> None:
    """Fail unless a checkpoint holds a training's whole state in mmengine's form.

    Args:
        content: Result of :func:`vil_mm.checkpoints.reading.read_checkpoint`.
        source: The checkpoint's name, for messages.
        with_schedulers: Whether the run has schedulers of parameters.

    Raises:
        CheckpointError: Names what is missing or malformed.
    """
    problem = next(_problems(content, with_schedulers), None)
    if problem:
        raise CheckpointError(f'{source} cannot be resumed: {problem}')


def check_optimizer(saved: object, optimizer: Optimizer, source: str) -> None:
    """Fail unless the state of an optimizer belongs to one of the same kind and sizes.

    Args:
        saved: The checkpoint's 'optimizer', in PyTorch's form.
        optimizer: The optimizer that is to continue.
        source: The checkpoint's name, for messages.

    Raises:
        CheckpointError: Names the first difference.
    """
    both = saved['param_groups'], optimizer.param_groups
    lengths = [[len(group['params']) for group in groups] for groups in both]
    if lengths[0] != lengths[1]:
        there, here = (f'{sum(x)} parameters in {len(x)} groups' for x in lengths)
        raise CheckpointError(
            f'{source} cannot be resumed: its optimizer has {there}, that of the config {here}; '
            'resume with the config of the run (a copy is in its work dir), or start a new run '
            'from its weights: set load_from=FILE and another work_dir'
        )
    problem = next(_optimizer_problems(saved, optimizer), None)
    if problem:
        raise CheckpointError(f'{source} cannot be resumed: its optimizer {problem}')


def check_schedulers(saved: object, schedulers: Iterable, source: str) -> None:
    """Fail unless saved states of schedulers have the form of the run's schedulers.

    Raises:
        CheckpointError: Names the first difference.
    """
    own = [x.state_dict() for x in schedulers]
    same = isinstance(saved, list) and len(saved) == len(own)
    if not same or not all(_is_scheduler(x, y) for x, y in zip(saved, own, strict=True)):
        raise CheckpointError(
            f'{source} cannot be resumed: its param_schedulers are not those of the config'
        )


def _problems(content: object, with_schedulers: bool) -> Iterator[str]:
    if not isinstance(content, dict):
        yield f'it is one {type(content).__name__}'
        return
    parts = {key: dict for key in ('meta', 'state_dict', 'message_hub', 'optimizer')}
    if with_schedulers:
        parts['param_schedulers'] = dict | list
    for key, kind in parts.items():
        if not isinstance(content.get(key), kind):
            yield f'it has no {key}, as CheckpointHook saves it'
    yield from _count_problems(content['meta'], content['message_hub'])
    yield from _hub_problems(content['message_hub'])
    yield from _form_problems(content['optimizer'])


def _count_problems(meta: dict, hub: dict) -> Iterator[str]:
    info = hub.get('runtime_info')
    for key in ('iter', 'epoch'):
        done = meta.get(key)
        most = info.get(f'max_{key}s') if isinstance(info, dict) else None
        most = most if type(most) is int else _LARGEST
        if type(done) is not int or not 0 <= done <= most:
            limit = f'0 to {most}' if most < _LARGEST else '0 or more'
            yield f'its meta.{key} is {shown(done)}, expected {limit}'
    seed = meta.get('seed')
    if seed is not None and (type(seed) is not int or not 0 <= seed < _LARGEST):
        yield f'its meta.seed is {shown(seed)}, expected a whole number'
    if 'config' in meta:  # of mmcv 1; mmengine would run it
        yield 'its meta.config would be run as a program'


def _hub_problems(hub: dict) -> Iterator[str]:
    """What mmengine's ``MessageHub`` and ``CheckpointHook`` cannot take."""
    parts = [hub.get(x) for x in ('log_scalars', 'runtime_info', 'resumed_keys')]
    if not all(isinstance(x, dict) and all(isinstance(y, str) for y in x) for x in parts):
        yield 'its message_hub is malformed'
        return
    scalars, info, keys = parts
    kept = info.get('keep_ckpt_ids', [])
    right = {
        'log_scalars': all(isinstance(x, HistoryBuffer) for x in scalars.values()),
        'resumed_keys': all(isinstance(x, bool) for x in keys.values()),
        'keep_ckpt_ids': isinstance(kept, list) and all(type(x) is int for x in kept),
        'best_ckpt': all(
            isinstance(x, str | None) for key, x in info.items() if key.startswith('best_ckpt')
        ),
        'best_score': all(_is_number(x) for key, x in info.items() if key.startswith('best_score')),
    }
    for key, is_right in right.items():
        if not is_right:
            yield f'its message_hub has a malformed {key}'


def _form_problems(saved: dict) -> Iterator[str]:
    """What is no state of an optimizer, or of several by name."""
    several = saved and all(isinstance(x, dict) and 'param_groups' in x for x in saved.values())
    for one in saved.values() if several else [saved]:
        groups, state = one.get('param_groups'), one.get('state')
        if not isinstance(groups, list) or not groups or not isinstance(state, dict):
            yield 'its optimizer has no param_groups or no state'
        elif not all(isinstance(x, dict) and isinstance(x.get('params'), list) for x in groups):
            yield 'its optimizer has malformed param_groups'


def _optimizer_problems(saved: dict, optimizer: Optimizer) -> Iterator[str]:
    names = [name for group in saved['param_groups'] for name in group['params']]
    owned = [x for group in optimizer.param_groups for x in group['params']]
    if not all(isinstance(name, int | str) for name in names) or len(set(names)) < len(names):
        yield 'names a parameter twice'
        return
    params = dict(zip(names, owned, strict=True))
    for there, here in zip(saved['param_groups'], optimizer.param_groups, strict=True):
        wrong = [key for key in here if key != 'params' and not _fits(there, here, key)]
        yield from (f'has a malformed {key}: {shown(there.get(key))}' for key in wrong)
    skips = saved.get('skips', (0, 0))
    if not _is_like(skips, (0, 0)):
        yield 'has malformed counts of skipped updates'
    if not isinstance(saved.get('base_param_settings', {}), dict | None):
        yield 'has malformed base_param_settings'
    states = saved['state']
    if 'betas' in optimizer.defaults and not states:
        yield 'has no moments'
    keys = {key for state in states.values() if isinstance(state, Mapping) for key in state}
    for name, state in states.items():
        if name not in params or not isinstance(state, Mapping):
            yield f'has a malformed state of {shown(name)}'
        elif wrong := [key for key in keys if not _is_state(key, state.get(key), params[name])]:
            yield f'has a malformed {wrong[0]} of parameter {name}'


def _fits(saved: dict, own: dict, key: str) -> bool:
    """Whether an option of a group has the kind of the run's own; flags may be missing."""
    optional = own[key] is None or isinstance(own[key], bool | str)
    good = _is_like(saved[key], own[key]) if key in saved else optional
    return good and not (key in ('lr', 'initial_lr') and saved[key] < 0)


def _is_scheduler(saved: object, own: dict) -> bool:
    counts = ('last_step', '_global_step')  # -1 before the scheduler's begin
    return _is_like(saved, own) and all(saved.get(key, 0) >= -1 for key in counts)


def _is_like(saved: object, own: object) -> bool:
    """Whether two values have the same form; numbers must be finite."""
    if own is None or isinstance(own, bool):
        return saved is None or isinstance(saved, bool) or _is_number(saved)
    if _is_number(own):
        return _is_number(saved)
    if isinstance(own, dict):
        return isinstance(saved, dict) and all(
            key in saved and _is_like(saved[key], own[key]) for key in own
        )
    if isinstance(own, list | tuple):
        return (
            isinstance(saved, list | tuple)
            and len(saved) == len(own)
            and all(_is_like(x, y) for x, y in zip(saved, own, strict=True))
        )
    return isinstance(saved, type(own))


def _is_number(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.dim() == 0 and not find_problem('', value) and math.isfinite(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_state(key: str, value: object, param: Tensor) -> bool:
    """Whether a value can be the optimizer's state of a parameter."""
    if key == 'step':
        return _is_number(value) and value >= 0
    if isinstance(value, Tensor):
        shaped = key not in MOMENTS or (value.is_floating_point() and value.shape == param.shape)
        positive = not key.endswith('exp_avg_sq')
        return shaped and not find_problem(key, value) and (positive or not (value < 0).any())
    return key not in MOMENTS or (value is None and key == 'momentum_buffer')
