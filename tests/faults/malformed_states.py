"""Malformed states to resume from, made from the last checkpoint of a good run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from malformed_weights import BIAS, WEIGHT, save

NAN = float('nan')


def _put(path: str, value: object) -> Callable[[dict], None]:
    """Set an entry, by keys and indices: 'meta/iter', 'optimizer/param_groups/0/lr'."""

    def put(content: dict) -> None:
        *way, last = (int(word) if word.isdecimal() else word for word in path.split('/'))
        for step in way:
            content = content[step]
        content[last] = value(content[last]) if callable(value) else value

    return put


def _drop(path: str) -> Callable[[dict], None]:
    def drop(content: dict) -> None:
        *way, last = (int(word) if word.isdecimal() else word for word in path.split('/'))
        for step in way:
            content = content[step]
        del content[last]

    return drop


MOMENT = 'optimizer/state/0/exp_avg'
STATES: dict[str, Callable[[dict], None]] = {
    **{f'without-{key}': _drop(key) for key in
       ('meta', 'optimizer', 'param_schedulers', 'message_hub', 'state_dict')},
    'iter-missing': _drop('meta/iter'),
    'iter-negative': _put('meta/iter', -1),
    'iter-huge': _put('meta/iter', 10**12),
    'iter-fraction': _put('meta/iter', 2.5),
    'iter-text': _put('meta/iter', '2'),
    'iter-nan': _put('meta/iter', NAN),
    'iter-none': _put('meta/iter', None),
    'iter-list': _put('meta/iter', [2]),
    'iter-tensor': _put('meta/iter', torch.tensor([1, 2])),
    'iter-bool': _put('meta/iter', True),
    'epoch-missing': _drop('meta/epoch'),
    'epoch-negative': _put('meta/epoch', -3),
    'epoch-huge': _put('meta/epoch', 10**12),
    'epoch-text': _put('meta/epoch', 'x'),
    'epoch-nan': _put('meta/epoch', NAN),
    'epoch-none': _put('meta/epoch', None),
    'meta-list': _put('meta', [1]),
    'meta-text': _put('meta', 'x'),
    'seed-text': _put('meta/seed', 'x'),
    'seed-huge': _put('meta/seed', 2**80),
    'optimizer-none': _put('optimizer', None),
    'optimizer-list': _put('optimizer', [1]),
    'optimizer-text': _put('optimizer', 'AdamW'),
    'optimizer-empty': _put('optimizer', {}),
    'optimizer-no-groups': _drop('optimizer/param_groups'),
    'optimizer-no-state': _drop('optimizer/state'),
    'optimizer-state-empty': _put('optimizer/state', {}),
    'optimizer-state-list': _put('optimizer/state', [1]),
    'optimizer-state-numbers': _put('optimizer/state', {0: 1}),
    'optimizer-state-names': _put('optimizer/state', lambda x: {str(k): v for k, v in x.items()}),
    'groups-text': _put('optimizer/param_groups', 'x'),
    'groups-dict': _put('optimizer/param_groups', {}),
    'groups-empty': _put('optimizer/param_groups', []),
    'groups-numbers': _put('optimizer/param_groups', [1, 2]),
    'groups-twice': _put('optimizer/param_groups', lambda x: x + x),
    'group-shorter': _put('optimizer/param_groups/0/params', lambda x: x[:-1]),
    'group-without-params': _drop('optimizer/param_groups/0/params'),
    'group-params-number': _put('optimizer/param_groups/0/params', 3),
    'group-params-twice': _put('optimizer/param_groups/0/params', [1]),
    'group-without-lr': _drop('optimizer/param_groups/0/lr'),
    'lr-text': _put('optimizer/param_groups/0/lr', 'x'),
    'lr-nan': _put('optimizer/param_groups/0/lr', NAN),
    'lr-infinite': _put('optimizer/param_groups/0/lr', float('inf')),
    'lr-negative': _put('optimizer/param_groups/0/lr', -1.0),
    'lr-none': _put('optimizer/param_groups/0/lr', None),
    'betas-missing': _drop('optimizer/param_groups/0/betas'),
    'betas-number': _put('optimizer/param_groups/0/betas', 0.9),
    'betas-nan': _put('optimizer/param_groups/0/betas', (NAN, 0.9)),
    'eps-text': _put('optimizer/param_groups/0/eps', 'x'),
    'decay-text': _put('optimizer/param_groups/0/weight_decay', 'x'),
    'moment-missing': _drop(MOMENT),
    'moment-nan': _put(MOMENT, lambda x: x * NAN),
    'moment-infinite': _put(MOMENT, lambda x: x + float('inf')),
    'moment-shape': _put(MOMENT, lambda x: torch.ones(3, 3, 3)),
    'moment-list': _put(MOMENT, torch.Tensor.tolist),
    'moment-none': _put(MOMENT, None),
    'moment-whole': _put(MOMENT, torch.Tensor.long),
    'moment-complex': _put(MOMENT, lambda x: x.to(torch.complex64)),
    'moment-sparse': _put(MOMENT, torch.Tensor.to_sparse),
    'moment-meta': _put(MOMENT, lambda x: x.to('meta')),
    'moment-squared-negative': _put('optimizer/state/0/exp_avg_sq', lambda x: x - 1),
    'step-missing': _drop('optimizer/state/0/step'),
    'step-nan': _put('optimizer/state/0/step', torch.tensor(NAN)),
    'step-text': _put('optimizer/state/0/step', 'x'),
    'step-negative': _put('optimizer/state/0/step', torch.tensor(-5.0)),
    'skips-text': _put('optimizer/skips', 'x'),
    'skips-missing': _put('optimizer/skips', (1,)),
    'base-settings-text': _put('optimizer/base_param_settings', 'x'),
    'step-two': _put('optimizer/state/0/step', torch.ones(2)),
    'schedulers-none': _put('param_schedulers', None),
    'schedulers-text': _put('param_schedulers', 'x'),
    'schedulers-empty': _put('param_schedulers', []),
    'schedulers-dict': _put('param_schedulers', {}),
    'schedulers-twice': _put('param_schedulers', lambda x: x + x),
    'schedulers-numbers': _put('param_schedulers', lambda x: [1] * len(x)),
    'scheduler-empty': _put('param_schedulers/0', {}),
    'scheduler-step-text': _put('param_schedulers/0/last_step', 'x'),
    'scheduler-step-nan': _put('param_schedulers/0/last_step', NAN),
    'scheduler-step-negative': _put('param_schedulers/0/last_step', -9),
    'scheduler-values-none': _put('param_schedulers/0/base_values', None),
    'scheduler-values-fewer': _put('param_schedulers/0/base_values', []),
    'scheduler-values-nan': _put('param_schedulers/0/base_values', lambda x: [NAN] * len(x)),
    'hub-none': _put('message_hub', None),
    'hub-list': _put('message_hub', [1]),
    'hub-text': _put('message_hub', 'x'),
    'hub-empty': _put('message_hub', {}),
    'hub-no-scalars': _drop('message_hub/log_scalars'),
    'hub-scalars-list': _put('message_hub/log_scalars', [1]),
    'hub-scalars-numbers': _put('message_hub/log_scalars', {'train/loss': 3}),
    'hub-info-text': _put('message_hub/runtime_info', 'x'),
    'hub-info-names-whole': _put('message_hub/runtime_info', {1: 2}),
    'hub-keys-text': _put('message_hub/resumed_keys', 'x'),
    'hub-keys-numbers': _put('message_hub/resumed_keys', {'iter': 'x', 3: 4}),
    'hub-kept-number': _put('message_hub/runtime_info/keep_ckpt_ids', 3),
    'hub-kept-paths': _put('message_hub/runtime_info/keep_ckpt_ids', ['../../x']),
    'hub-best-list': _put('message_hub/runtime_info/best_ckpt', [1]),
    'hub-score-text': _put('message_hub/runtime_info/best_score', 'x'),
    'weights-nan': _put(f'state_dict/{WEIGHT}', lambda x: x * NAN),
    'weights-shape': _put(f'state_dict/{BIAS}', lambda x: x[:-1]),
    'weights-list': _put('state_dict', [1]),
}  # fmt: skip


def malformed_states(good: dict, marker: Path) -> Iterator[tuple[str, bytes]]:
    """States that a run cannot continue from."""
    program = f'import os\nos.mkdir({str(marker)!r})\n'
    programs = {
        'meta-config-is-a-program': _put('meta', lambda meta: {**meta, 'config': program}),
        'meta-config-is-a-number': _put('meta', lambda meta: {**meta, 'config': 3}),
    }
    for name, change in {**STATES, **programs}.items():
        content = copy.deepcopy(good)
        change(content)
        yield name, save(content)
