"""Read checkpoints without running code from them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor


class CheckpointError(ValueError):
    """A file is no checkpoint, or not one of the model at hand. The first line says it all."""


def read_state_dict(checkpoint: str, map_location: str = 'cpu') -> OrderedDict[str, Tensor]:
    """Read a checkpoint's tensors without running code from it.

    Accepts a bare state dict or one under 'state_dict', as mmengine and the authors write.

    Raises:
        FileNotFoundError, CheckpointError: There is no such file; it holds more than
            tensors and plain containers, or no weights.
    """
    return find_state_dict(read_checkpoint(checkpoint, map_location), checkpoint)


def read_checkpoint(checkpoint: str, map_location: str = 'cpu') -> object:
    """Read all that a checkpoint holds without running code from it, its log history left out.

    Raises:
        FileNotFoundError, CheckpointError: There is no such file; it holds more than
            tensors and plain containers, or no weights.
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
    except Exception as error:  # on damaged files torch's reader lets out errors of every kind
        raise CheckpointError(
            f'not a checkpoint of tensors and plain containers, or cut off while it was written: '
            f'{checkpoint} ({_reason(error)})'
        ) from error


def find_state_dict(content: object, checkpoint: str) -> OrderedDict[str, Tensor]:
    """The tensors of what :func:`read_checkpoint` has read from ``checkpoint``.

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
    """What mmengine notes beside the weights (``dataset_meta``, ``cfg``, ...); {} if nothing."""
    meta = content.get('meta') if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}


class _Skipped:
    """Stands in for mmengine's log history, which is pickled beside the weights and not needed.

    Neither it nor :func:`_skipped_method` ever hands out anything real: the true classes would let
    a crafted file reach Python's builtins.
    """

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict) and any(str(key).startswith('__') for key in state):
            raise pickle.UnpicklingError(f'Trying to set {sorted(map(str, state))}')


def _skipped_method(owner: object, name: str) -> _Skipped:
    """Stands in for ``getattr``, by which the methods of a log history are pickled."""
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
    """The sentence that says what was met, out of torch's long message.

    torch goes on with how to load the file all the same, which is what must not be done.
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
    return 'it is no file that torch.save has written'
