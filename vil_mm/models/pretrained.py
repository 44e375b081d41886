"""Weights for a backbone from a file, all of them or an error."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from vil_mm.checkpoints import describe, from_official, is_official
from vil_mm.checkpoints.official import shorten

CONVERTER = 'python tools/convert_checkpoint.py'
PATCH_WEIGHT = 'patch_embed.proj.weight'


class CheckpointError(ValueError):
    """A file is no checkpoint, or not one of the model at hand. The first line says it all."""


def split_pretrained(init_cfg: dict | list[dict] | None) -> tuple[list[dict], list[dict] | None]:
    """Separate the ``Pretrained`` entries (without their type) from the rest of an init_cfg."""
    if not init_cfg:
        return [], init_cfg
    cfgs = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
    pretrained = [dict(cfg) for cfg in cfgs if cfg['type'] == 'Pretrained']
    for cfg in pretrained:
        cfg.pop('type')
    return pretrained, [cfg for cfg in cfgs if cfg['type'] != 'Pretrained'] or None


def load_backbone(
    backbone: nn.Module,
    checkpoint: str,
    prefix: str = 'backbone.',
    map_location: str = 'cpu',
    adapt_channels: bool = False,
) -> None:
    """Load a file's weights into a backbone; the position embedding is resized to fit.

    Args:
        backbone: A ``VisionLSTM``.
        checkpoint: A file of a whole model whose backbone's keys begin with ``prefix``, of a bare
            backbone, or an official one in any of the authors' layouts.
        prefix: See above.
        map_location: As in ``torch.load``.
        adapt_channels: Fit the patch embedding of a model for RGB to the backbone's channels, see
            :func:`adapt_channels_of`.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It holds more than tensors and plain containers, is of another model, or
            misses a weight.
    """
    state = read_state_dict(checkpoint, map_location)
    if is_official(state):
        state, prefix = convert(state, checkpoint), 'backbone.'
    inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    inside = inside or state
    if adapt_channels:
        inside = adapt_channels_of(inside, backbone.patch_embed.proj.in_channels, checkpoint)
    other = tell_apart(inside, backbone.state_dict())
    if other:
        hint = '' if adapt_channels else _channels_hint(inside, backbone)
        raise CheckpointError(f'{checkpoint} does not fit this backbone: {other}{hint}')
    incompatible = _load(backbone, inside, checkpoint)
    if incompatible.missing_keys:
        raise CheckpointError(
            f'{checkpoint} lacks {shorten(incompatible.missing_keys)} of the backbone; its keys '
            f'look like {shorten(state)}. Name a checkpoint of the same arch and version, or set '
            'init_cfg=None to start from scratch'
        )
    unused = [key for key in incompatible.unexpected_keys if not key.startswith('head.')]
    note = f'; not used by this backbone: {shorten(unused)}' if unused else ''
    print_log(f'Backbone weights loaded from {checkpoint}{note}', logger='current')


def adapt_channels_of(
    state: Mapping[str, Tensor], channels: int, checkpoint: str
) -> Mapping[str, Tensor]:
    """Weights of a backbone for RGB as those of one for another number of channels.

    The rule of timm's ``adapt_input_conv``: channel c gets the patch embedding's weights of channel
    c modulo 3, all times 3 / ``channels``, so that an image whose channels are equal gives the
    embedding that it gave; a single channel gets the sum of the three.

    Raises:
        CheckpointError: They are for another number of channels than 3.
    """
    weight = state.get(PATCH_WEIGHT)
    if weight is None or weight.dim() != 4 or weight.shape[1] == channels:
        return state
    if weight.shape[1] != 3:
        raise CheckpointError(
            f'{checkpoint} is for images of {weight.shape[1]} channels: adapt_channels=True takes '
            f'weights for 3, to make them fit {channels}'
        )
    if channels == 1:
        adapted = weight.float().sum(1, keepdim=True)
    else:
        adapted = weight.float()[:, [c % 3 for c in range(channels)]] * (3 / channels)
    return OrderedDict(state, **{PATCH_WEIGHT: adapted.to(weight.dtype)})


def _channels_hint(state: Mapping[str, Tensor], backbone: nn.Module) -> str:
    stored, own = state.get(PATCH_WEIGHT), backbone.patch_embed.proj.weight
    if stored is None or stored.dim() != 4 or stored.shape[1] != 3 or own.shape[1] == 3:
        return ''
    return (
        f'; to make weights for RGB fit {own.shape[1]} channels add adapt_channels=True to init_cfg'
    )


def _load(backbone: nn.Module, state: Mapping[str, Tensor], checkpoint: str):
    try:
        return backbone.load_state_dict(state, strict=False)
    except RuntimeError as error:
        first, *others = str(error).splitlines()[1:]  # torch's heading, then a line each
        more = f' (and {len(others)} more)' if others else ''
        raise CheckpointError(
            f'{checkpoint} does not fit this backbone: {first.strip()}{more}'
        ) from error


def convert(official: Mapping[str, Tensor], checkpoint: str) -> OrderedDict[str, Tensor]:
    """:func:`vil_mm.checkpoints.from_official`, with the file's name in the error."""
    try:
        return from_official(official)
    except ValueError as error:
        raise CheckpointError(f'{checkpoint}: {error}') from error


def tell_apart(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """Say which two models these are weights of, if both are ViLs and not the same."""
    try:
        theirs, ours = describe(stored), describe(own)
    except ValueError:
        return None
    if theirs.architecture == ours.architecture:
        return None
    return f'the file holds {theirs}, the model has {ours}'


def refuse_official(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    prefix: str,
    local_metadata: dict,
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Load pre-hook of a backbone: official keys match nothing, and ``strict=False`` hides it.

    Loaders hand a module inside another one nothing but the keys with its own prefix. Those that
    belong nowhere are by then on the list of unexpected keys.

    Raises:
        CheckpointError: Names the converter.
    """
    if is_official(state_dict) or is_official(unexpected_keys):
        raise CheckpointError(ask_to_convert('the state dict', 'OFFICIAL_FILE'))


def ask_to_convert(what: str, file: str) -> str:
    """The message about official weights where a model's own are wanted."""
    return (
        f"{what} cannot be loaded: its weights are in the authors' layout, not under our names. "
        f'Convert the file, {CONVERTER} {file} NEW_FILE, and name the new one; or name it in '
        'init_cfg of the backbone, which converts it when it is loaded'
    )


def read_state_dict(checkpoint: str, map_location: str = 'cpu') -> OrderedDict[str, Tensor]:
    """Read a checkpoint's tensors without running code from it.

    Accepts a bare state dict or one under 'state_dict', as mmengine and the authors write.

    Raises:
        FileNotFoundError, CheckpointError: As in :func:`load_backbone`.
    """
    return state_dict_of(read_checkpoint(checkpoint, map_location), checkpoint)


def read_checkpoint(checkpoint: str, map_location: str = 'cpu') -> object:
    """Read all that a checkpoint holds without running code from it, its log history left out.

    Raises:
        FileNotFoundError, CheckpointError: As in :func:`load_backbone`.
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


def state_dict_of(content: object, checkpoint: str) -> OrderedDict[str, Tensor]:
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
        raise CheckpointError(f"{checkpoint} holds no weights, neither bare nor under 'state_dict'")
    tensors._metadata = getattr(state, '_metadata', OrderedDict())
    return tensors


def meta_of(content: object) -> dict:
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
