"""Check pretrained weights of other packages' backbones before they are loaded.

mmengine loads them with ``strict=False``, so weights that do not match are ignored without a word.
``VisionLSTM`` checks its own.
"""

from __future__ import annotations

import copy
import re

from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import nn

from vil_mm.checkpoints import is_official
from vil_mm.checkpoints.loading import ask_to_convert
from vil_mm.checkpoints.official import shorten
from vil_mm.checkpoints.reading import CheckpointError, read_state_dict

# resized or recomputed while loading
_RESIZED = re.compile(r'(pos_embed|relative_position_bias_table|relative_position_index)$')
# norms of the maps for a decoder; a classifier's file has only the last one
_OF_MAPS = re.compile(r'^norm\d\.')


def check_other_backbone(backbone: ConfigDict, init_cfg: ConfigDict) -> None:
    """Fail if a file lacks weights of a backbone from mmpretrain or this package.

    Args:
        backbone: Config of the backbone.
        init_cfg: Its ``Pretrained`` entry, with ``prefix`` if the file holds a whole model.

    Raises:
        FileNotFoundError, CheckpointError: Names the missing weights.
    """
    path = init_cfg['checkpoint']
    state = read_state_dict(path)
    if not _loads_as_named(backbone.type):
        return
    if is_official(state):
        raise CheckpointError(ask_to_convert(path, path))
    prefix = init_cfg.get('prefix') or ''
    prefix = prefix if not prefix or prefix.endswith('.') else f'{prefix}.'
    stored = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    own = _build(backbone).state_dict()
    wanted = {name: value for name, value in own.items() if not _OF_MAPS.match(name)}
    missing = [
        name
        for name, value in wanted.items()
        if name not in stored or not (_RESIZED.search(name) or value.shape == stored[name].shape)
    ]
    if missing:
        named = f'under {prefix}' if prefix else "without a prefix (init_cfg has no 'prefix')"
        raise CheckpointError(
            f'{path} does not match {backbone.type}: {len(missing)} of {len(wanted)} weights are '
            f'missing or have another shape, searched {named}: {shorten(missing)}. The file has '
            f'{shorten(state)}. Name a file of the same architecture, or set '
            'model.backbone.init_cfg=None to train from scratch'
        )


def _loads_as_named(kind: str) -> bool:
    """Whether files name a backbone's weights as the model does.

    Several backbones of mmsegmentation and mmdetection rename weights while loading, so their files
    cannot be compared with the model.
    """
    return kind.startswith('mmpretrain.') or kind in MODELS.module_dict


def _build(backbone: ConfigDict) -> nn.Module:
    backbone = copy.deepcopy(backbone)
    backbone.pop('init_cfg', None)
    return MODELS.build(backbone)
