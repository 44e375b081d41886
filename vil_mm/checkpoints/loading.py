"""Load all weights of a backbone from a file, or raise an error."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from vil_mm.checkpoints.description import describe
from vil_mm.checkpoints.official import from_official, is_official
from vil_mm.checkpoints.reading import CheckpointError, read_state_dict
from vil_mm.errors import shorten

CONVERTER = 'python tools/convert_checkpoint.py'
PATCH_WEIGHT = 'patch_embed.proj.weight'


def split_pretrained(init_cfg: dict | list[dict] | None) -> tuple[list[dict], list[dict] | None]:
    """Split an init_cfg into ``Pretrained`` entries (without their type) and the rest."""
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
        checkpoint: A file of a whole model, of a bare backbone, or an official one in any of the
            authors' layouts.
        prefix: Prefix of the backbone's keys in a whole model.
        map_location: As in ``torch.load``.
        adapt_channels: Adapt an RGB patch embedding to the backbone's channels, see
            :func:`adapt_patch_embedding`.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file holds more than tensors and plain containers, belongs to another
            model, or lacks a weight.
    """
    state = read_state_dict(checkpoint, map_location)
    if is_official(state):
        state, prefix = convert(state, checkpoint), 'backbone.'
    inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    inside = inside or state
    if adapt_channels:
        inside = adapt_patch_embedding(inside, backbone.patch_embed.proj.in_channels, checkpoint)
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


def adapt_patch_embedding(
    state: Mapping[str, Tensor], channels: int, checkpoint: str
) -> Mapping[str, Tensor]:
    """Adapt the weights of an RGB backbone to another number of channels.

    As in timm's ``adapt_input_conv``: channel c gets the patch embedding's weights of channel
    c modulo 3, scaled by 3 / ``channels``, so that an image with equal channels keeps its
    embedding; a single channel gets the sum of the three.

    Raises:
        CheckpointError: The weights are not for 3 channels.
    """
    weight = state.get(PATCH_WEIGHT)
    if weight is None or weight.dim() != 4 or weight.shape[1] == channels:
        return state
    if weight.shape[1] != 3:
        raise CheckpointError(
            f'{checkpoint} is for images of {weight.shape[1]} channels: adapt_channels=True can '
            f'only adapt weights for 3 channels to {channels}'
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
    return f'; to adapt RGB weights to {own.shape[1]} channels add adapt_channels=True to init_cfg'


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
    """Name the two models that these weights belong to, if both are ViLs and they differ."""
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
    """Load pre-hook of a backbone: reject official keys, which ``strict=False`` would ignore.

    Loaders pass a nested module only the keys with its own prefix; official keys are by then in the
    list of unexpected keys.

    Raises:
        CheckpointError: The keys are official; the message names the converter.
    """
    if is_official(state_dict) or is_official(unexpected_keys):
        raise CheckpointError(ask_to_convert('the state dict', 'OFFICIAL_FILE'))


def ask_to_convert(what: str, file: str) -> str:
    """The error message for official weights where our names are required."""
    return (
        f"{what} cannot be loaded: its weights are in the authors' layout, not under our names. "
        f'Convert the file, {CONVERTER} {file} NEW_FILE, and name the new one; or name it in '
        'init_cfg of the backbone, which converts it when it is loaded'
    )
