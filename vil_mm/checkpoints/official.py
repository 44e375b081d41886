"""The authors' layout of a ViL (version 2, inference class) and the keys of an ``ImageClassifier``.

Official                                              here
patch_embed.proj.*                                    backbone.patch_embed.proj.*
pos_embed.embed                                       backbone.pos_embed.embed
blocks.{i}.rowwise_from_top_left.{norm, layer.*}      backbone.blocks.{i}.layers.0.*
blocks.{i}.rowwise_from_bot_right.{norm, layer.*}     backbone.blocks.{i}.layers.1.*
norm.*                                                backbone.norm.*       (after the blocks)
legacy_norm.*                                         backbone.pool_norm.*  (after pooling)
head.*                                                head.fc.*
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

_WEIGHT_AND_BIAS = ('weight', 'bias')
_DIRECTIONS = ('rowwise_from_top_left', 'rowwise_from_bot_right')
_IN_LAYER = {
    'norm': 'norm',
    'layer.proj_up': 'proj_up',
    'layer.conv': 'conv',
    'layer.q_proj': 'q_proj',
    'layer.k_proj': 'k_proj',
    'layer.v_proj': 'v_proj',
    'layer.mlstm_cell.igate': 'igate',
    'layer.mlstm_cell.fgate': 'fgate',
    'layer.mlstm_cell.outnorm': 'head_norm',
    'layer.proj_down': 'proj_down',
}
_AROUND = {'patch_embed.proj': 'backbone.patch_embed.proj', 'norm': 'backbone.norm'}
_OF_CLASSIFIER = {'legacy_norm': 'backbone.pool_norm', 'head': 'head.fc'}  # may be absent
_BLOCK_NUMBER = re.compile(r'^(?:backbone\.)?blocks\.(\d+)\.')


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an official state dict to the keys of an mmpretrain ``ImageClassifier``.

    Args:
        state_dict: Weights of the authors' version 2 inference class, bare or under 'state_dict',
            with or without the classifier's entries. It is not changed; tensors are shared.

    Raises:
        ValueError: Keys are left over or missing; the message lists both.
    """
    state_dict = state_dict.get('state_dict', state_dict)
    names, optional = _names(_count_blocks(state_dict))
    return _rename(state_dict, names, optional, 'an official ViL (version 2) state dict')


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`from_official`.

    Raises:
        ValueError: Keys are left over or missing; the message lists both.
    """
    names, optional = _names(_count_blocks(state_dict))
    inverse = {ours: official for official, ours in names.items()}
    return _rename(state_dict, inverse, {names[k] for k in optional}, 'a state dict of VisionLSTM')


def is_official(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether keys look like the authors' version 2 inference class."""
    return any(key.startswith(f'blocks.0.{_DIRECTIONS[0]}.') for key in state_dict)


def _count_blocks(keys: Iterable[str]) -> int:
    numbers = [int(match[1]) for match in map(_BLOCK_NUMBER.match, keys) if match]
    return max(numbers, default=0) + 1


def _names(num_blocks: int) -> tuple[dict[str, str], set[str]]:
    """Official to our names for that many blocks, and the official ones that may be absent."""
    modules = dict(_AROUND)
    names = {'pos_embed.embed': 'backbone.pos_embed.embed'}
    for block in range(num_blocks):
        for index, direction in enumerate(_DIRECTIONS):
            theirs, ours = f'blocks.{block}.{direction}', f'backbone.blocks.{block}.layers.{index}'
            names[f'{theirs}.layer.learnable_skip'] = f'{ours}.skip'
            modules.update({f'{theirs}.{a}': f'{ours}.{b}' for a, b in _IN_LAYER.items()})
    modules.update(_OF_CLASSIFIER)
    for theirs, ours in modules.items():
        names.update({f'{theirs}.{leaf}': f'{ours}.{leaf}' for leaf in _WEIGHT_AND_BIAS})
    return names, {f'{module}.{leaf}' for module in _OF_CLASSIFIER for leaf in _WEIGHT_AND_BIAS}


def _rename(
    state_dict: Mapping[str, Tensor], names: dict[str, str], optional: set[str], what: str
) -> dict[str, Tensor]:
    left_over = sorted(set(state_dict) - set(names))
    missing = sorted(set(names) - set(state_dict) - optional)
    if left_over or missing:
        raise ValueError(f'not {what}: left over {left_over}, missing {missing}')
    return {names[key]: value for key, value in state_dict.items()}
