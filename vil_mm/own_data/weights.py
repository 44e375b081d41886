"""The model to start from: a segmentor's checkpoint, a backbone's weights, or none."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from torch import Tensor

from vil_mm.checkpoints import Description, describe, is_official
from vil_mm.checkpoints.architectures import make_arch_option
from vil_mm.checkpoints.reading import CheckpointError, find_meta, find_state_dict, read_checkpoint
from vil_mm.runs.nested import as_list
from vil_mm.zoo import CONFIG_DIR

BASE_MODEL = CONFIG_DIR / '_base_' / 'models' / 'upernet_vil_t.py'
TAPS = (1 / 3, 1 / 2, 2 / 3, 1)  # relative depths of the four maps that UPerNet reads
MAX_CHANNELS = 384  # of the decoder, as in the published models
SMALL_CHANNELS = 64  # of a decoder that a CPU trains from scratch
HEADS = ('decode_head', 'auxiliary_head')
_CLASSIFIER = 'decode_head.conv_seg.weight'


@dataclass(frozen=True)
class Start:
    """What training starts from.

    Attributes:
        line: A description for the user.
        model: Model of the config; the number of classes and the crop are filled in later.
        load_from: Checkpoint of a whole segmentor, or None.
        pretrained: Whether the backbone is pretrained.
        own_size: Whether to set the backbone's ``img_size`` to the crop.
    """

    line: str
    model: dict
    load_from: str | None
    pretrained: bool
    own_size: bool


def read_start(checkpoint: str | None, on_cpu: bool) -> Start:
    """Find out what a checkpoint holds, and the model to train from it.

    Args:
        checkpoint: Weights of a segmentor, classifier or backbone, or an official file; None starts
            from scratch.
        on_cpu: Whether to make a new decoder narrow.

    Raises:
        FileNotFoundError, ValueError: The checkpoint is missing or none of these.
    """
    if checkpoint is None:
        model = upernet(dict(arch='tiny'), 192, 12, on_cpu)
        return Start('nothing: ViL-T with UPerHead from scratch', model, None, False, True)
    content = read_checkpoint(checkpoint)
    state = find_state_dict(content, checkpoint)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    path = str(Path(checkpoint).resolve())
    if any(key.startswith('decode_head.') for key in state):
        return _segmentor(state, find_meta(content), path)
    return _backbone(state, path, on_cpu)


def upernet(backbone: dict, dim: int, num_blocks: int, narrow: bool) -> dict:
    """The package's UPerNet on a backbone of ``dim`` channels and ``num_blocks`` blocks."""
    model = Config.fromfile(BASE_MODEL).model.to_dict()
    model['backbone'].update(backbone, out_indices=tuple(_taps(num_blocks)))
    model['neck']['embed_dim'] = dim
    channels = SMALL_CHANNELS if narrow else min(dim, MAX_CHANNELS)
    model['decode_head'].update(in_channels=[dim] * 4, channels=channels)
    model['auxiliary_head'].update(in_channels=dim, channels=channels)
    return model


def _taps(num_blocks: int) -> list[int]:
    """Blocks whose maps UPerNet reads.

    Raises:
        CheckpointError: There are fewer than four.
    """
    if num_blocks < len(TAPS):
        raise CheckpointError(
            f'the backbone has {num_blocks} blocks, but UPerNet reads the maps of {len(TAPS)}: '
            'start from a deeper one'
        )
    taps: list[int] = []
    for depth in TAPS:
        taps.append(max(round(depth * num_blocks) - 1, taps[-1] + 1 if taps else 0))
    return taps


def _segmentor(state: Mapping[str, Tensor], meta: dict, path: str) -> Start:
    model = literal_model(meta.get('cfg') if isinstance(meta.get('cfg'), str) else '')
    if model is None:
        model = _by_shapes(state, path)
    for head in HEADS:
        for one in as_list(model.get(head)):
            _make_new_classifier(one)
    model['backbone'].pop('init_cfg', None)
    model.pop('pretrained', None)
    if model['type'].endswith('TiledEncoderDecoder'):  # same weights; only prediction differs
        model['type'] = 'EncoderDecoder'
    if len((model.get('data_preprocessor') or {}).get('mean') or [0] * 3) != 3:
        raise CheckpointError(f'{path} is not for images of 3 channels, as photos have')
    num = len(state['decode_head.conv_seg.weight']) if _CLASSIFIER in state else '?'
    head = as_list(model['decode_head'])[-1]['type']
    line = (
        f'segmentor {path}: {_name(state, model)} with {head}, {num} classes; all weights are '
        'reused, except the last layer if the number of classes differs'
    )
    return Start(line, _without_sync(model), path, True, False)


def _by_shapes(state: Mapping[str, Tensor], path: str) -> dict:
    """The model of a UPerNet checkpoint without a config."""
    if not any(key.startswith('decode_head.psp_modules.') for key in state):
        raise CheckpointError(
            f'{path} has no config, and its decode head is not a UPerHead: use a checkpoint '
            'written by tools/train.py or mmengine'
        )
    described = _describe(state, path)
    model = upernet(_backbone_options(described), described.embed_dims, _blocks(described), False)
    for head in HEADS:
        weight = state.get(f'{head}.conv_seg.weight')
        if weight is None:
            model.pop(head)
        else:
            model[head]['channels'] = weight.shape[1]
    return model


def _backbone(state: Mapping[str, Tensor], path: str, on_cpu: bool) -> Start:
    described = _describe(state, path)
    model = upernet(_backbone_options(described), described.embed_dims, _blocks(described), on_cpu)
    model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    what = "the authors' file" if is_official(state) else 'a checkpoint of this package'
    line = f'backbone {path}: {described.name} ({what}); UPerHead is new'
    return Start(line, model, None, True, True)


def _describe(state: Mapping[str, Tensor], path: str) -> Description:
    try:
        described = describe(state)
    except ValueError as error:
        raise CheckpointError(f'{path} cannot be used as a start: {error}') from error
    if described.in_channels != 3:
        raise CheckpointError(
            f'{path} is for images of {described.in_channels} channels, but photos have 3'
        )
    if described.num_scans > 1:
        raise CheckpointError(
            f'{path} has {described.num_scans} scans per layer, and weights do not record their '
            'traversal: write a config with the traversal instead, see docs/segmentation.md'
        )
    return described


def _backbone_options(described: Description) -> dict:
    arch = make_arch_option(described.embed_dims, described.num_layers)
    options = dict(arch=arch, version=described.version, patch_size=described.patch_size)
    defaults = dict(version=2, patch_size=16)
    return {key: x for key, x in options.items() if key not in defaults or x != defaults[key]}


def _blocks(described: Description) -> int:
    return -(-described.num_layers // 2)


def _name(state: Mapping[str, Tensor], model: dict) -> str:
    try:
        return describe(state).name
    except ValueError:
        return model['backbone'].get('type', 'a backbone')


def _make_new_classifier(head: dict) -> None:
    """Remove the options that belong to the head's old classes."""
    for key in ('out_channels', 'threshold'):
        head.pop(key, None)
    for loss in as_list(head.get('loss_decode')):
        loss.pop('class_weight', None)
        if loss.get('type', '').endswith('CrossEntropyLoss'):
            loss.pop('use_sigmoid', None)


def _without_sync(value: object) -> object:
    """Replace SyncBN, which a CPU lacks, by BN; the weights have the same names."""
    if isinstance(value, dict):
        return {key: _without_sync(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_sync(x) for x in value)
    return 'BN' if value == 'SyncBN' else value


def literal_model(text: str) -> dict | None:
    """The ``model`` of a config stored in a checkpoint as text, without running the text.

    Returns:
        None if there is none, or it holds more than dicts, lists, tuples, numbers and strings.
    """
    try:
        body = ast.parse(text).body
        (value,) = (
            node.value
            for node in body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'model'
        )
        model = _literal(value)
    except (SyntaxError, ValueError):
        return None
    return model if isinstance(model, dict) and 'backbone' in model else None


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict' and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List):
        return [_literal(x) for x in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(x) for x in node.elts)
    return ast.literal_eval(node)
