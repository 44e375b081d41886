"""Write a readable config for training on the user's own data."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from vil_mm.own_data.schedule import Schedule
from vil_mm.own_data.weights import HEADS, Start
from vil_mm.runs.nested import as_list
from vil_mm.zoo import CONFIG_DIR

WIDTH = 96
RUNTIME = CONFIG_DIR / '_base_' / 'default_runtime.py'
RUNTIME_KEYS = ('custom_imports', 'default_scope', 'env_cfg', 'custom_hooks', 'visualizer')
LAYER_DECAY = 0.65


class Name(str):
    """The name of a config variable, written without quotes."""


@dataclass(frozen=True)
class Data:
    """What the config says about the data.

    Attributes:
        photos: The user's folder.
        suffix: Suffix of all photos, or '' if the lists contain the suffixes.
        classes, palette: Names and colours (RGB).
        num_train, num_val: Photos in each split.
        class_weight: Weight of each class in the loss; None for equal weights.
    """

    photos: Path
    suffix: str
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    num_train: int
    num_val: int
    class_weight: Sequence[float] | None = None


HEAD = """\
# {num_classes} classes, {num_train} photos to train on and {num_val} to validate.
{start}
#
#   python tools/train.py {config}
#   python tools/test.py {config} CHECKPOINT --show-dir PICTURES
#   python tools/image_demo.py PHOTO_OR_FOLDER {config} CHECKPOINT --out PREDICTED
#
# --resume continues an interrupted run. Written by tools/finetune.py; edit it as you like. The
# settings changed most often come first.

max_iters = {max_iters}  # updates; increase it if validation still improves at the end
batch_size = {batch_size}  # photos per update; reduce it, to 2 at least, if memory runs out
short_side = {short_side}  # photos are resized to this many pixels; more shows finer detail, slower
crop_size = {crop_size}  # rows, columns of the training crops; multiples of 16
base_lr = {base_lr}  # learning rate; reduce it if the loss jumps

# The data: photos stay where they are; masks are recoded copies, 0 to {last}, 255 for no class.
photos = {photos!r}
data_root = "{{{{ fileDirname }}}}/data"  # next to this file
classes = {classes}
palette = {palette}
num_classes = len(classes)
class_weight = {class_weight}  # of each class in the loss; None: equal weights

# Checkpoint of a whole segmentor to start from, or None{start_note}.
load_from = {load_from!r}

"""

DATA = """\
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(4 * short_side, short_side),
        ratio_range={ratio_range},
        keep_ratio=True,
    ),
    # crops in which one class covers more than 90 % are drawn again
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.9),
    dict(type='RandomFlip', prob=0.5),  # remove it if left and right matter
    dict(type='PhotoMetricDistortion'),  # brightness, contrast, colour
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(4 * short_side, short_side), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
dataset = dict(
    type='BaseSegDataset',
    metainfo=dict(classes=classes, palette=palette),
    data_root=data_root,
    data_prefix=dict(img_path=photos, seg_map_path='masks'),
    img_suffix={suffix!r},
    seg_map_suffix='.png',
    reduce_zero_label=False,  # class 0 counts
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers={num_workers},
    persistent_workers=True,
    sampler=dict(type='ReplayableInfiniteSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.txt', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers={num_workers},
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, ann_file='val.txt', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

# {optim_note}
optim_wrapper = dict(
    type='FiniteLossOptimWrapper',
    optimizer=dict(type='AdamW', lr=base_lr, betas=(0.9, 0.999), weight_decay=0.05),
{paramwise})
warmup_iters = {warmup_iters}
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1 / (warmup_iters + 1),
        by_epoch=False,
        begin=0,
        end=warmup_iters + 1,
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=max_iters - 1 - warmup_iters,
        eta_min_ratio=2e-3,
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval={val_interval})
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

work_dir = "{{{{ fileDirname }}}}/run"  # logs and checkpoints, including the best one
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval={log_interval}, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval={val_interval},
        max_keep_ckpts=1,
        save_best='mIoU',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
log_processor = dict(type='ThroughputLogProcessor', by_epoch=False)
randomness = dict(seed={seed})

# The model{model_note}.
"""

DECAY_NOTE = """\
AdamW with layer decay: the learning rate shrinks by {rate} per block towards the input, which
# preserves what the backbone has learned."""
PLAIN_NOTE = 'AdamW with one learning rate for all weights'


def format_config(data: Data, start: Start, schedule: Schedule, config: Path, seed: int) -> str:
    """The text of the config.

    Args:
        data, start, schedule: What was found and chosen.
        config: Its future path, as a user types it.
        seed: Random seed of the training.
    """
    decay = start.pretrained and start.model['backbone'].get('type') == 'VisionLSTM'
    from_backbone = start.pretrained and not start.load_from
    head = HEAD.format(
        **vars(schedule),
        num_classes=len(data.classes),
        num_train=data.num_train,
        num_val=data.num_val,
        start=textwrap.fill(
            f'Start: {start.line}.',
            100,
            initial_indent='# ',
            subsequent_indent='# ',
            break_long_words=False,
            break_on_hyphens=False,
        ),
        config=config,
        last=len(data.classes) - 1,
        photos=str(data.photos.resolve()),
        classes=literal(tuple(data.classes)),
        palette=literal([list(colour) for colour in data.palette]),
        class_weight=literal(data.class_weight),
        load_from=start.load_from,
        start_note=' (only the backbone is pretrained: see init_cfg)' * from_backbone,
    )
    body = DATA.format(
        suffix=data.suffix,
        ratio_range=(1.0, 1.5) if schedule.short_side <= 192 else (0.75, 1.5),
        num_workers=schedule.num_workers,
        optim_note=DECAY_NOTE.format(rate=LAYER_DECAY) if decay else PLAIN_NOTE,
        paramwise=_format_paramwise(decay),
        warmup_iters=schedule.warmup_iters,
        val_interval=schedule.val_interval,
        log_interval=max(1, min(50, schedule.max_iters // 20)),
        seed=seed,
        model_note=" as in its checkpoint's config" * (start.load_from is not None),
    )
    runtime = Config.fromfile(RUNTIME)
    lines = [f'{key} = {literal(runtime.to_dict()[key])}\n' for key in RUNTIME_KEYS]
    return f'{head}{body}model = {literal(_adapt_model(start))}\n\n{"".join(lines)}'


def _format_paramwise(decay: bool) -> str:
    if not decay:
        return ''
    options = {
        'flat_decay_mult': 0.0,
        'custom_keys': {'pos_embed': {'decay_mult': 0.0}},
        'layer_decay_rate': LAYER_DECAY,
    }
    constructor = "    constructor='LayerDecayOptimWrapperConstructor',\n"
    return f'{constructor}    paramwise_cfg={literal(options, 4, 18)},\n'


def _adapt_model(start: Start) -> dict:
    """The model with this config's classes and crop, as variables."""
    model = dict(start.model)
    for key in HEADS:
        heads = model.get(key)
        if heads:
            adapted = [_adapt_head(head) for head in as_list(heads)]
            model[key] = adapted if isinstance(heads, list) else adapted[0]
    crop = Name('crop_size')
    patch = model['backbone'].get('patch_size', 16)
    model['data_preprocessor'] = {
        **model['data_preprocessor'],
        'size': crop,
        'test_cfg': {'size_divisor': patch},
    }
    if start.own_size:
        model['backbone'] = {**model['backbone'], 'img_size': crop}
    model['test_cfg'] = {'mode': 'whole'}
    return model


def _adapt_head(head: dict) -> dict:
    losses = [
        {**loss, 'class_weight': Name('class_weight')}
        if loss.get('type', '').endswith('CrossEntropyLoss')
        else loss
        for loss in as_list(head.get('loss_decode'))
    ]
    loss = {'loss_decode': losses if len(losses) != 1 else losses[0]} if losses else {}
    return {**head, 'num_classes': Name('num_classes'), **loss}


def literal(value: object, indent: int = 0, column: int = 8) -> str:
    """A value as Python source in OpenMMLab's style, ``dict(type=..., ...)``, wrapped if needed.

    Args:
        value: Dicts, lists, tuples, numbers, strings and :class:`Name`.
        indent: Indentation of its first line.
        column: Characters before the value on that line, besides the indentation.
    """
    flat = _flat(value)
    if not isinstance(value, dict | list | tuple) or indent + column + len(flat) < WIDTH:
        return flat
    inner, pad = indent + 4, ' ' * (indent + 4)
    if isinstance(value, dict):
        start, end = ('dict(', ')') if _has_names(value) else ('{', '}')
        parts = [f'{_prefix(key, value)}{literal(x, inner, 24)}' for key, x in _ordered(value)]
    else:
        start, end = '[]' if isinstance(value, list) else '()'
        parts = [literal(x, inner, 1) for x in value]
    return start + ''.join(f'\n{pad}{part},' for part in parts) + f'\n{" " * indent}{end}'


def _flat(value: object) -> str:
    if isinstance(value, dict):
        body = ', '.join(f'{_prefix(key, value)}{_flat(x)}' for key, x in _ordered(value))
        return f'dict({body})' if _has_names(value) else f'{{{body}}}'
    if isinstance(value, list):
        return f'[{", ".join(map(_flat, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(_flat, value))}{"," * (len(value) == 1)})'
    return str(value) if isinstance(value, Name) else repr(value)


def _ordered(value: dict) -> list[tuple]:
    """The items, with ``type`` first: checkpoints sort them alphabetically."""
    return sorted(value.items(), key=lambda item: item[0] != 'type')


def _has_names(value: dict) -> bool:
    return all(isinstance(key, str) and key.isidentifier() for key in value)


def _prefix(key: object, value: dict) -> str:
    return f'{key}=' if _has_names(value) else f'{key!r}: '
