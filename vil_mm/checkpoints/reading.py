"""Read checkpoints without running code from them."""

from __future__ import annotations

import re
import reprlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from vil_mm.checkpoints.log_history import STAND_INS, restore_histories
from vil_mm.files import check_archive

# names of tensors that layers compute with; others may count (num_batches_tracked) or index
_FLOATING = re.compile(r'(weight|bias|running_mean|running_var|embed|token|gamma|scale)$')

_WRAPPERS = re.compile(r'^(module\.)+')  # of distributed training


class CheckpointError(ValueError):
    """A file is not a checkpoint, or not one of this model. The first line is complete."""


def read_state_dict(checkpoint: str, map_location: str = 'cpu') -> OrderedDict[str, Tensor]:
    """Read a checkpoint's tensors, bare or under 'state_dict', without running code from it.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file holds more than tensors and plain containers, or no weights.
    """
    return find_state_dict(read_checkpoint(checkpoint, map_location), checkpoint)


def read_checkpoint(checkpoint: str, map_location: str = 'cpu') -> object:
    """Read a checkpoint (``.pth``) or weights (``.safetensors``), without running code from it.

    The file is opened once. mmengine's log history is rebuilt from plain numbers.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file holds more than tensors and plain containers, declares far more
            data than it has, or its ``meta`` is malformed.
    """
    if '://' in checkpoint:
        raise CheckpointError(
            f'{checkpoint} is an address: download the file and name that instead'
        )
    path = Path(checkpoint)
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint not found: {checkpoint} (looked from {Path.cwd()})')
    if path.stat().st_size == 0:
        raise CheckpointError(f'checkpoint is empty (0 bytes): {checkpoint}')
    try:
        with path.open('rb') as file:
            if path.suffix == '.safetensors':
                return _read_safetensors(file, map_location)
            check_archive(file)
            with torch.serialization.safe_globals(STAND_INS):
                content = torch.load(file, map_location=map_location, weights_only=True)
            content = restore_histories(content)
    except PermissionError:
        raise
    except Exception as error:  # on damaged files torch.load raises errors of any type
        raise CheckpointError(
            f'not a checkpoint of tensors and plain containers, or cut off while it was written: '
            f'{checkpoint} ({_reason(error)})'
        ) from error
    check_meta(content, checkpoint)
    return content


def _read_safetensors(file: BinaryIO, map_location: str) -> dict[str, Tensor]:
    from safetensors.torch import load  # only these files need it

    return {key: x.to(map_location) for key, x in load(file.read()).items()}


def find_state_dict(content: object, checkpoint: str) -> OrderedDict[str, Tensor]:
    """The tensors in the result of :func:`read_checkpoint`.

    Raises:
        CheckpointError: There are none, or they cannot be weights, see :func:`check_weights`.
    """
    state = content.get('state_dict', content) if isinstance(content, dict) else {}
    state = state if isinstance(state, dict) else {}
    tensors = OrderedDict((key, x) for key, x in state.items() if isinstance(x, Tensor))
    if not tensors:
        raise CheckpointError(
            f"{checkpoint} holds no weights, neither at the top level nor under 'state_dict'"
        )
    check_weights(state, checkpoint)
    metadata = getattr(state, '_metadata', None)
    tensors._metadata = metadata if isinstance(metadata, dict) else OrderedDict()
    return tensors


def find_meta(content: object) -> dict:
    """mmengine's metadata beside the weights (``dataset_meta``, ``cfg``, ...), or {}."""
    meta = content.get('meta') if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}


def check_weights(state: Mapping[object, object], source: str) -> None:
    """Fail unless the tensors of a state dict can be weights of a model.

    They must be dense, in memory, of real numbers and finite; weights proper must be floating, and
    variances not negative. Names must be text and stay unique without the wrappers' 'module.'.

    Raises:
        CheckpointError: Names the first tensor that cannot.
    """
    tensors = {key: x for key, x in state.items() if isinstance(x, Tensor)}
    short: dict[str, str] = {}
    for key, x in tensors.items():
        if not isinstance(key, str):
            raise CheckpointError(f'{source}: the name of a weight is {shown(key)}, not a text')
        if problem := find_problem(key, x):
            raise CheckpointError(f'{source}: the weight {key} {problem}')
        other = short.setdefault(_WRAPPERS.sub('', key), key)
        if other != key:
            raise CheckpointError(f'{source} holds two weights of one name: {other} and {key}')


def check_meta(content: object, source: str) -> None:
    """Fail unless the metadata beside weights, if there are any, have mmengine's form.

    Raises:
        CheckpointError: Names the first entry that has not.
    """
    meta = content.get('meta') if isinstance(content, dict) else None
    if meta is not None and not isinstance(meta, dict):
        raise CheckpointError(f'{source}: its meta is one {type(meta).__name__}, not a dict')
    data = (meta or {}).get('dataset_meta')
    data = data if isinstance(data, dict) else {'dataset_meta': data}
    for key, value in {**data, 'cfg': (meta or {}).get('cfg')}.items():
        if value is not None and not _META.get(key, lambda _: True)(value):
            raise CheckpointError(f'{source}: its meta has a malformed {key}: {shown(value)}')


def shown(value: object) -> str:
    """A value from a file, short and on one line."""
    return ' '.join(reprlib.repr(value).split())


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(x, str) for x in value)


def _are_colours(value: object) -> bool:
    """Whether a value is a list of [red, green, blue], 0 to 255, or an array of these."""
    rows = value.tolist() if isinstance(value, np.ndarray) else value
    return isinstance(rows, list | tuple) and all(
        isinstance(row, list | tuple)
        and len(row) == 3
        and all(type(x) is int and 0 <= x <= 255 for x in row)
        for row in rows
    )


_META = {
    'cfg': lambda value: isinstance(value, str),
    'dataset_meta': lambda value: False,  # a dict has been opened
    'classes': _are_names,
    'palette': _are_colours,
}


def find_problem(key: str, x: Tensor) -> str:
    """What makes a tensor unusable as a weight, or ''."""
    if x.layout is not torch.strided or x.is_quantized or x.is_nested:
        return 'is sparse, nested or quantised; dense weights are expected'
    if x.device.type == 'meta':
        return "has a shape but no values (it is on PyTorch's device 'meta')"
    if x.dtype.is_complex:
        return f'has complex numbers ({x.dtype}); real ones are expected'
    if not x.dtype.is_floating_point:
        wrong = _FLOATING.search(key)
        return f'has whole numbers ({x.dtype}); floating ones are expected' if wrong else ''
    if x.numel() * x.element_size() > x.untyped_storage().nbytes():
        return f'claims the shape {tuple(x.shape)}, but the file holds fewer values'
    if not torch.isfinite(x if x.element_size() > 1 else x.float()).all():
        return 'is not finite (NaN or infinite): use an earlier checkpoint'
    if key.endswith('running_var') and (x < 0).any():
        return 'has negative variances'
    return ''


def _reason(error: Exception) -> str:
    """The relevant sentence of torch's long message.

    The rest of the message explains how to load the file unsafely.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line.removeprefix('WeightsUnpickler error: ') for line in lines if line]
    telling = [line for line in lines if line.startswith(('Unsupported', 'Can only', 'Trying to'))]
    if telling:
        return telling[0].split(' was not an allowed')[0].split('. ')[0]
    if isinstance(error, EOFError):
        return 'the file ends too early'
    if isinstance(error, ValueError) and str(error).startswith('it declares'):
        return lines[0]
    if isinstance(error, RuntimeError) and lines:
        return lines[0].split('. ')[0]
    return 'it was not written by torch.save'
