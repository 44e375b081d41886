"""Convert between the authors' state dicts and those of an mmpretrain ``ImageClassifier``."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from torch import Tensor

from vil_mm.checkpoints.layouts import (
    LAYOUTS,
    OPTIONAL,
    OWN_LAYER,
    OWN_SCAN,
    Naming,
    count_layers,
    read_naming,
)
from vil_mm.errors import shorten

_REMEMBERED = 'official_layout'  # key in the root's metadata, where torch keeps module versions
_IGNORED = 'causal_mask'  # a buffer in very old files
_SEPARATE_CONVS = re.compile(r'xlstm\..+\.conv1d_[kv](?:_rev|_du|_ud)?\.')


def from_official(state_dict: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Rename an official state dict to the keys of an mmpretrain ``ImageClassifier``.

    Args:
        state_dict: Weights in any of the authors' layouts (:mod:`vil_mm.checkpoints.layouts`), bare
            or under 'state_dict', with or without norm after pooling and head. It is not changed;
            tensors are shared. Old ``causal_mask`` buffers are dropped.

    Returns:
        Our names in the same order, with the layout in ``_metadata`` for :func:`to_official`.

    Raises:
        ValueError: Keys are left over or missing (the message lists both), or the design is not
            supported.
    """
    state_dict = _weights(state_dict)
    separate = [key for key in state_dict if _SEPARATE_CONVS.match(key)]
    if separate:
        raise ValueError(
            'these weights use separate convolutions for q, k and v, a design that vil_mm does not '
            f'support: {shorten(separate)}'
        )
    naming = read_naming(state_dict)
    if naming is None:
        raise ValueError(f'not an official ViL state dict: left over {shorten(state_dict)}')
    layout = naming.layout
    what = f'an official ViL state dict (version {layout.version}, {layout.name} layout)'
    ours = _rename(state_dict, naming.table(), what)
    ours._metadata = OrderedDict({'': {'version': 1, _REMEMBERED: layout.name}})
    return ours


def to_official(
    state_dict: Mapping[str, Tensor], layout: str | None = None
) -> OrderedDict[str, Tensor]:
    """The inverse of :func:`from_official`.

    Args:
        state_dict: Weights of a ViL classifier or of its backbone alone.
        layout: 'raw' as in published files, or 'inference' as in the authors' classes. By default
            the one recorded by :func:`from_official` (dict comprehensions lose it), else 'raw'.

    Raises:
        ValueError: Keys are left over or missing (the message lists both), or this layout does not
            support the model.
    """
    layout = layout or _noted_layout(state_dict) or 'raw'
    state_dict = as_classifier(_weights(state_dict))
    naming = _read_own_naming(state_dict, layout)
    table = {ours: theirs for theirs, ours in naming.table().items()}
    return _rename(state_dict, table, 'a state dict of VisionLSTM')


def is_official(keys: Iterable[str]) -> bool:
    """Whether some of these keys (or a state dict's) are in one of the authors' layouts."""
    names = [key for key in keys if isinstance(key, str)]
    return any(layout.sign.match(name) for name in names for layout in LAYOUTS.values())


def as_classifier(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Our weights under the names of a classifier, adding the prefix of a bare backbone."""
    if any(key.startswith('backbone.') for key in state_dict):
        return state_dict
    return {f'backbone.{key}': value for key, value in state_dict.items()}


def _noted_layout(state_dict: Mapping) -> str | None:
    metadata = getattr(state_dict, '_metadata', None)
    of_root = metadata.get('') if isinstance(metadata, Mapping) else None
    noted = of_root.get(_REMEMBERED) if isinstance(of_root, Mapping) else None
    return noted if noted in ('raw', 'inference') else None


def _weights(state_dict: Mapping) -> Mapping[str, Tensor]:
    inner = state_dict.get('state_dict')
    weights = inner if isinstance(inner, Mapping) else state_dict
    if not all(isinstance(key, str) for key in weights):
        raise ValueError('not a state dict: names of weights must be strings')
    return {key: value for key, value in weights.items() if key.split('.')[-1] != _IGNORED}


def _read_own_naming(keys: Iterable[str], layout: str) -> Naming:
    """The authors' naming, in a layout, for a model of ours.

    Raises:
        ValueError: The keys or the layout are unknown, or the layout does not support the model.
    """
    layers = {2 * int(found[1]) + int(found[2]) for found in map(OWN_LAYER.match, keys) if found}
    if not layers:
        raise ValueError(f'not a state dict of VisionLSTM: left over {shorten(keys)}')
    version = 2 if any(key.endswith('.proj_up.bias') for key in keys) else 1
    if (layout, version) not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is not known; choose 'raw' or 'inference'")
    scans = {int(found['scan']) for found in map(OWN_SCAN.match, keys) if found}
    class_token = 'backbone.cls_token' in keys
    naming = Naming(
        LAYOUTS[layout, version], count_layers(layers), 1 + max(scans, default=0), class_token
    )
    _check_exists(naming)
    return naming


def _check_exists(naming: Naming) -> None:
    layout = naming.layout
    reasons = {
        'layers of several scans': naming.num_scans > layout.max_scans,
        'a class token': naming.class_token and layout.class_token is None,
        'an odd number of layers': naming.num_layers % 2 and layout.whole_blocks,
    }
    for reason, applies in reasons.items():
        if applies:
            raise ValueError(
                f'the {layout.name} layout of version {layout.version} has no names for {reason}'
            )


def _rename(
    state_dict: Mapping[str, Tensor], names: dict[str, str], what: str
) -> OrderedDict[str, Tensor]:
    left_over = set(state_dict) - set(names)
    missing = set(names) - set(state_dict)
    for module in OPTIONAL:
        of_module = {key for key, name in names.items() if _begins(module, key, name)}
        if of_module <= missing:
            missing -= of_module
    if left_over or missing:
        raise ValueError(f'not {what}: left over {shorten(left_over)}; missing {shorten(missing)}')
    return OrderedDict((names[key], value) for key, value in state_dict.items())


def _begins(module: str, *names: str) -> bool:
    return any(name.startswith(f'{module}.') for name in names)
