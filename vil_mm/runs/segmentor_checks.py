"""Options of a segmentor that contradict each other or the data: refused before a run.

Refused is what surely fails, or trains something that nobody means. What cannot be known from the
config, such as a head of another package with rules of its own, passes.
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
from vil_mm.runs.validation_checks import check_windows

SEGMENTORS = ('EncoderDecoder', 'CascadeEncoderDecoder', 'TiledEncoderDecoder')
WEIGHTED = ('CrossEntropyLoss', 'OhemCrossEntropy', 'LovaszLoss', 'TverskyLoss')
BINARY = 'docs/fine_tuning.md#two-classes'
# heads with a norm over a map that is pooled to one pixel, and the scales they pool to
POOLED = {
    'UPerHead': (1, 2, 3, 6),
    'PSPHead': (1, 2, 3, 6),
    'ASPPHead': (1,),
    'DepthwiseSeparableASPPHead': (1,),
}


class Head(NamedTuple):
    """A head's place in the config, its options and, where it is mmseg's or built on it, class."""

    at: str
    options: ConfigDict
    kind: type | None

    @property
    def outputs(self) -> int | None:
        """Channels of its logits, if they are trained by mmseg's own rules."""
        plain = self.kind and self.kind.loss_by_feat is BaseDecodeHead.loss_by_feat
        if not plain or 'num_classes' not in self.options:
            return None
        return self.options.get('out_channels') or self.options.num_classes

    @property
    def losses(self) -> list[tuple[str, ConfigDict]]:
        losses = self.options.get('loss_decode') or []
        if isinstance(losses, dict):
            return [(f'{self.at}.loss_decode', losses)]
        return [(f'{self.at}.loss_decode.{i}', loss) for i, loss in enumerate(losses)]


def check_segmentor(cfg: Config, *splits: str) -> None:
    """Fail if options of a segmentor contradict each other or the classes of the data.

    Args:
        cfg: Config of a run; of other models than segmentors nothing is looked at.
        splits: Data that the model is trained for, 'train' and 'val'.

    Raises:
        ValueError: Names the options, what they have to be and what to do.
        FileNotFoundError: A file of class weights is not there.
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
    """Whether a model is one of mmseg's segmentors for label maps, or ours."""
    return _bare(model) in SEGMENTORS


def list_heads(model: ConfigDict) -> Iterator[Head]:
    """Decode and auxiliary heads; either may be a list."""
    for name in ('decode_head', 'auxiliary_head'):
        options = model.get(name) or []
        if isinstance(options, dict):
            yield Head(f'model.{name}', options, _find_class(options))
        else:
            for i, one in enumerate(options):
                yield Head(f'model.{name}.{i}', one, _find_class(one))


def find_classes(dataset: ConfigDict) -> list[str] | None:
    """Names of the classes of a data set's config; None where it cannot be known.

    Of wrappers those of the first set within.
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
            f'{head.at}.out_channels={outputs}, but num_classes={classes}: expected as many, or 1 '
            'for two classes'
        )
    if outputs != 1:
        return
    if classes != 2:
        raise ValueError(
            f'{head.at} has one output and num_classes={classes}: one output tells two classes '
            f'apart, the background counted; {BINARY} has both recipes'
        )
    for at, loss in head.losses:
        if _bare(loss) == 'CrossEntropyLoss' and not loss.get('use_sigmoid'):
            raise ValueError(
                f'{at} is a softmax over one output, which learns nothing: set use_sigmoid=True, '
                f'or leave out_channels=1 out; {BINARY} has both recipes'
            )


def _check_maps(model: ConfigDict, heads: list[Head]) -> None:
    """Whether each head asks for maps that a ViL, with a pyramid or without, gives."""
    backbone, neck = model.backbone, model.get('neck')
    if _bare(backbone) != 'VisionLSTM' or (neck and _bare(neck) != 'Feature2Pyramid'):
        return
    out_type = backbone.get('out_type', 'featmap')
    if out_type != 'featmap':
        raise ValueError(
            f'model.backbone.out_type={out_type!r} gives no maps, which a segmentor needs: leave '
            'it out'
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
            f'model.backbone.out_indices asks for {maps} maps, but model.neck makes {scales} '
            'scales: one of each is needed'
        )


def _check_inputs(head: Head, width: int, maps: int) -> None:
    channels, index = head.options.get('in_channels'), head.options.get('in_index', -1)
    channels = [channels] if isinstance(channels, int) else list(channels or ())
    index = [index] if isinstance(index, int) else list(index)
    if channels and len(channels) != len(index):
        raise ValueError(
            f'{head.at}: in_channels has {len(channels)} entries, in_index {len(index)}: expected '
            'one of each for a map'
        )
    if any(not -maps <= i < maps for i in index):
        raise ValueError(
            f'{head.at}.in_index={index}, but the head is given {maps} maps, 0 to {maps - 1}: see '
            'model.backbone.out_indices'
        )
    if any(x != width for x in channels):
        raise ValueError(
            f'{head.at}.in_channels={head.options.in_channels}, but maps of model.backbone have '
            f'{width} channels'
        )


def _check_lone_images(cfg: Config, heads: list[Head]) -> None:
    """A batch norm in training needs two values a channel; a map of one pixel gives one an image.

    The batch is that of one process, unless ``sync_bn`` joins those of several.
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
        needs = f'{head.at} has a batch norm over a map of one pixel, which needs two images'
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
    """Whether a process gets, after the full batches of all images, one that is left over."""
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
    """The type's name without a scope; '' of lists, as necks may be."""
    kind = options.get('type') if isinstance(options, dict) else ''
    return getattr(kind, '__name__', str(kind)).split('.')[-1]


def _shortened(names: list[str], most: int = 5) -> str:
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')
