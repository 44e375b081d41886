"""Reject options of a segmentor that contradict each other or the data, before a run.

Only configs that are sure to fail, or to train nonsense, are rejected. What the config alone cannot
tell passes, such as heads of other packages.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope, Registry
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import DATASETS, MODELS

from vil_mm.models.backbones.options import read_arch, read_out_indices
from vil_mm.runs.class_weights import check_class_weight
from vil_mm.runs.nested import with_keys
from vil_mm.runs.validation_checks import check_windows

SEGMENTORS = ('EncoderDecoder', 'CascadeEncoderDecoder', 'TiledEncoderDecoder')
WEIGHTED = ('CrossEntropyLoss', 'OhemCrossEntropy', 'LovaszLoss', 'TverskyLoss')
BINARY = 'docs/fine_tuning.md#two-classes'
# heads that normalise pooled maps -> sizes to which they pool
POOLED = {
    'UPerHead': (1, 2, 3, 6),
    'PSPHead': (1, 2, 3, 6),
    'ASPPHead': (1,),
    'DepthwiseSeparableASPPHead': (1,),
}


class Head(NamedTuple):
    """A head's key in the config, its options and, if it derives from mmseg's, its class."""

    at: str
    options: ConfigDict
    kind: type | None

    @property
    def outputs(self) -> int | None:
        """Channels of the logits; None if the head computes its loss differently from mmseg."""
        plain = self.kind and self.kind.loss_by_feat is BaseDecodeHead.loss_by_feat
        if not plain or 'num_classes' not in self.options:
            return None
        return self.options.get('out_channels') or self.options.num_classes

    @property
    def losses(self) -> list[tuple[str, ConfigDict]]:
        """Options of the losses, with their keys in the config."""
        return with_keys(f'{self.at}.loss_decode', self.options.get('loss_decode'))


def check_segmentor(cfg: Config, *splits: str) -> None:
    """Fail if options of a segmentor contradict each other or the classes of the data.

    Args:
        cfg: Config of a run; models other than segmentors pass.
        splits: Splits whose classes must match, 'train' and 'val'.

    Raises:
        ValueError: Names the options, the expected values and what to do.
        FileNotFoundError: A file of class weights does not exist.
    """
    if not is_segmentor(cfg.model):
        return
    heads = list(list_heads(cfg.model))
    _check_classes(cfg, heads, splits)
    for head in heads:
        _check_outputs(head)
        for at, loss in head.losses if head.outputs else ():
            if _bare(loss) in WEIGHTED:
                check_class_weight(at, loss.get('class_weight'), head.at, head.outputs)
    _check_maps(cfg.model, heads)
    if cfg.get('val_cfg'):
        check_windows(cfg.model, tiled=_bare(cfg.model) == 'TiledEncoderDecoder')
    _check_lone_images(cfg, heads)


def is_segmentor(model: ConfigDict) -> bool:
    """Whether a model is one of mmseg's encoder-decoders, or ours."""
    return _bare(model) in SEGMENTORS


def list_heads(model: ConfigDict) -> Iterator[Head]:
    """Decode and auxiliary heads; either may be a list."""
    for name in ('decode_head', 'auxiliary_head'):
        for key, options in with_keys(f'model.{name}', model.get(name)):
            yield Head(key, options, _find_class(options))


def find_classes(dataset: ConfigDict) -> list[str] | None:
    """Class names of a data set's config; None if unknown.

    For a wrapper, those of the first data set inside.
    """
    inner = dataset.get('dataset') or (dataset.get('datasets') or [None])[0]
    if inner:
        return find_classes(inner)
    names = (dataset.get('metainfo') or {}).get('classes')
    if isinstance(names, str):
        return Path(names).read_text().splitlines() if Path(names).is_file() else None
    if names is None:
        names = getattr(_registered(DATASETS, dataset), 'METAINFO', {}).get('classes')
    return list(names) if names else None


def _check_classes(cfg: Config, heads: list[Head], splits: tuple[str, ...]) -> None:
    counted = [head for head in heads if head.outputs]
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        names = find_classes(loader['dataset']) if 'dataset' in loader else None
        for head in counted if names else ():
            if head.options.num_classes != len(names):
                raise ValueError(
                    f'{head.at}.num_classes={head.options.num_classes}, but the {split} data has '
                    f'{len(names)} classes ({_shortened(names)}): set num_classes of every head to '
                    'the number of classes, or name the classes in metainfo of the data set'
                )
    for head in counted[1:]:
        if head.options.num_classes != counted[0].options.num_classes:
            raise ValueError(
                f'{counted[0].at}.num_classes={counted[0].options.num_classes}, but '
                f'{head.at}.num_classes={head.options.num_classes}: both learn the same labels'
            )
        first, other = (x.options.get('ignore_index', 255) for x in (counted[0], head))
        if first != other:
            raise ValueError(
                f'{counted[0].at}.ignore_index={first}, but {head.at}.ignore_index={other}: both '
                'learn the same labels'
            )


def _check_outputs(head: Head) -> None:
    classes, outputs = head.options.get('num_classes'), head.outputs
    if outputs is None:
        return
    if outputs not in (1, classes):
        raise ValueError(
            f'{head.at}.out_channels={outputs}, but num_classes={classes}: expected the same '
            'number, or 1 for two classes'
        )
    if outputs != 1:
        return
    if classes != 2:
        raise ValueError(
            f'{head.at} has one output and num_classes={classes}, but one output distinguishes '
            f'two classes, including the background; {BINARY} has both recipes'
        )
    for at, loss in head.losses:
        if _bare(loss) == 'CrossEntropyLoss' and not loss.get('use_sigmoid'):
            raise ValueError(
                f'{at} is a softmax over one output, which learns nothing: set use_sigmoid=True, '
                f'or remove out_channels=1; {BINARY} has both recipes'
            )


def _check_maps(model: ConfigDict, heads: list[Head]) -> None:
    """Check that each head's inputs match the maps of a ViL, with or without a pyramid."""
    backbone, neck = model.backbone, model.get('neck')
    if _bare(backbone) != 'VisionLSTM' or (neck and _bare(neck) != 'Feature2Pyramid'):
        return
    out_type = backbone.get('out_type', 'featmap')
    if out_type != 'featmap':
        raise ValueError(
            f'model.backbone.out_type={out_type!r} returns no maps, but a segmentor needs them: '
            'remove it'
        )
    width, layers = read_arch(backbone.get('arch', 'tiny'))
    maps = len(read_out_indices(backbone.get('out_indices', -1), (layers + 1) // 2))
    if neck:
        scales = len(neck.get('rescales', (4, 2, 1, 0.5)))
        _check_pyramid(neck, width, maps, scales)
    for head in heads:
        if head.kind and head.kind._transform_inputs is BaseDecodeHead._transform_inputs:
            _check_inputs(head, width, maps)


def _check_pyramid(neck: ConfigDict, width: int, maps: int, scales: int) -> None:
    if neck.embed_dim != width:
        raise ValueError(
            f'model.neck.embed_dim={neck.embed_dim}, but maps of model.backbone have {width} '
            'channels'
        )
    if maps != scales:
        raise ValueError(
            f'model.backbone.out_indices names {maps} maps, but model.neck has {scales} scales: '
            'the numbers must be equal'
        )


def _check_inputs(head: Head, width: int, maps: int) -> None:
    channels, index = head.options.get('in_channels'), head.options.get('in_index', -1)
    channels = [channels] if isinstance(channels, int) else list(channels or ())
    index = [index] if isinstance(index, int) else list(index)
    if channels and len(channels) != len(index):
        raise ValueError(
            f'{head.at}: in_channels has {len(channels)} entries, in_index {len(index)}: expected '
            'one of each per map'
        )
    if any(not -maps <= i < maps for i in index):
        raise ValueError(
            f'{head.at}.in_index={index}, but the head gets {maps} maps, 0 to {maps - 1}: see '
            'model.backbone.out_indices'
        )
    if any(x != width for x in channels):
        raise ValueError(
            f'{head.at}.in_channels={head.options.in_channels}, but maps of model.backbone have '
            f'{width} channels'
        )


def _check_lone_images(cfg: Config, heads: list[Head]) -> None:
    """Batch norm needs two values per channel, but a one-pixel map has one per image.

    The batch is that of one process, unless ``sync_bn`` joins several.
    """
    alone = cfg.get('launcher', 'none') == 'none'
    norms = ('BN', 'BN2d', 'SyncBN') if alone else ('BN', 'BN2d')
    loader = cfg.get('train_dataloader') or {}
    if (cfg.get('sync_bn') and not alone) or 'batch_size' not in loader:
        return
    for head in heads:
        kind, norm = _bare(head.options), (head.options.get('norm_cfg') or {}).get('type')
        scales = head.options.get('pool_scales', POOLED.get(kind)) if kind in POOLED else ()
        if 1 not in scales or norm not in norms:
            continue
        needs = f'{head.at} has a batch norm over a one-pixel map, which needs two images'
        if loader.batch_size == 1:
            raise ValueError(
                f'train_dataloader.batch_size=1, but {needs}: set batch_size=2 or, on several '
                'GPUs, sync_bn=torch'
            )
        if alone and _ends_with_one(cfg, loader):
            raise ValueError(
                f'the last batch of the training data has 1 image, but {needs}: set '
                'train_dataloader.drop_last=True'
            )


def _ends_with_one(cfg: Config, loader: ConfigDict) -> bool:
    """Whether the last batch has a single image."""
    if 'Infinite' in _bare(loader.get('sampler') or {}) or loader.get('drop_last'):
        return False
    with DefaultScope.overwrite_default_scope('mmseg'):
        images = len(DATASETS.build(copy.deepcopy(loader.dataset)))
    full, rest = divmod(images, loader.batch_size)
    return rest == 1 and cfg.train_cfg.get('max_iters', full + 1) > full


def _find_class(options: ConfigDict) -> type | None:
    kind = _registered(MODELS, options)
    return kind if isinstance(kind, type) and issubclass(kind, BaseDecodeHead) else None


def _registered(registry: Registry, options: ConfigDict) -> object:
    kind = options.get('type')
    return registry.get(kind) if isinstance(kind, str) else kind


def _bare(options: ConfigDict) -> str:
    """The type's name without its scope; '' for a list, as some necks are."""
    kind = options.get('type') if isinstance(options, dict) else ''
    return getattr(kind, '__name__', str(kind)).split('.')[-1]


def _shortened(names: list[str], most: int = 5) -> str:
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')
