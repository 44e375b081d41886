"""Read checkpoints without running code from them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor


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
    """Read a checkpoint, except its log history, without running code from it.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file holds more than tensors and plain containers.
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
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(path, map_location=map_location, weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # on damaged files torch.load raises errors of any type
        raise CheckpointError(
            f'not a checkpoint of tensors and plain containers, or cut off while it was written: '
            f'{checkpoint} ({_reason(error)})'
        ) from error


def find_state_dict(content: object, checkpoint: str) -> OrderedDict[str, Tensor]:
    """The tensors in the result of :func:`read_checkpoint`.

    Raises:
        CheckpointError: There are none.
    """
    state = content.get('state_dict', content) if isinstance(content, dict) else {}
    pairs = state.items() if isinstance(state, dict) else ()
    tensors = OrderedDict(
        (key, x) for key, x in pairs if isinstance(key, str) and isinstance(x, Tensor)
    )
    if not tensors:
        raise CheckpointError(
            f"{checkpoint} holds no weights, neither at the top level nor under 'state_dict'"
        )
    tensors._metadata = getattr(state, '_metadata', OrderedDict())
    return tensors


def find_meta(content: object) -> dict:
    """mmengine's metadata beside the weights (``dataset_meta``, ``cfg``, ...), or {}."""
    meta = content.get('meta') if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}


class _Skipped:
    """Stands in for mmengine's log history, which is pickled beside the weights but not needed.

    Neither this class nor :func:`_skipped_method` ever returns a real object: the real classes
    would let a crafted file reach Python's builtins.
    """

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict) and any(str(key).startswith('__') for key in state):
            raise pickle.UnpicklingError(f'Trying to set {sorted(map(str, state))}')


def _skipped_method(owner: object, name: str) -> _Skipped:
    """Stands in for ``getattr``, which pickles of a log history use for its methods."""
    if owner is not _Skipped or name.startswith('_'):
        raise pickle.UnpicklingError(f'Trying to get the attribute {name!r} of {owner!r}')
    return _Skipped()


_STAND_INS = [
    (_skipped_method, 'builtins.getattr'),
    (_Skipped, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_Skipped, 'numpy.ndarray'),
    (_Skipped, 'numpy.dtype'),
    *(
        (_Skipped, f'numpy.{core}.multiarray.{function}')  # NumPy 1 and 2
        for core in ('core', '_core')
        for function in ('_reconstruct', 'scalar')
    ),
]


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
    if isinstance(error, RuntimeError) and lines:
        return lines[0].split('. ')[0]
    return 'it was not written by torch.save'
