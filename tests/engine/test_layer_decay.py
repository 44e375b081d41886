"""Which learning rate and weight decay every parameter gets, and what is refused."""

from __future__ import annotations

import logging

import mmpretrain.models  # noqa: F401  registers the backbones
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmseg.models import EncoderDecoder  # noqa: F401  registers it
from torch import nn

from vil_mm.engine.layer_decay import LayerDecayError, find_backbone, format_groups, read_depths
from vil_mm.models import VisionLSTM

VIL = dict(
    type='VisionLSTM',
    arch=dict(embed_dims=16, num_layers=6),
    img_size=64,
    out_indices=(0, 2),
    final_norm=False,
)


class Detector(nn.Module):
    """Shaped as mmdetection's models are."""

    def __init__(self, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone or VisionLSTM(**{k: v for k, v in VIL.items() if k != 'type'})
        self.neck = nn.Conv2d(16, 8, 1)
        self.bbox_head = nn.Sequential(nn.Conv2d(8, 4, 3, bias=False), nn.BatchNorm2d(4))


class Wrapper(nn.Module):
    """Shaped as DistributedDataParallel is."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def segmentor() -> nn.Module:
    head = dict(in_channels=16, in_index=0, channels=8, num_classes=5, norm_cfg=dict(type='BN'))
    return MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            backbone=VIL,
            decode_head=dict(type='mmseg.FCNHead', **head),
            auxiliary_head=dict(type='mmseg.FCNHead', num_convs=1, **head),
        )
    )


def classifier() -> nn.Module:
    backbone = {**VIL, 'out_indices': -1, 'out_type': 'bilateral_concat', 'final_norm': True}
    head = dict(type='mmpretrain.LinearClsHead', in_channels=32, num_classes=5)
    with DefaultScope.overwrite_default_scope('mmpretrain'):  # whatever a test before has set
        return MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))


def groups_of(model: nn.Module, rate: float = 0.5, **paramwise) -> list[dict]:
    cfg = ConfigDict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05),
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=rate, **paramwise),
    )
    return build_optim_wrapper(model, cfg).optimizer.param_groups


def settings_of(model: nn.Module, *args, **kwargs) -> dict[str, tuple[float, float]]:
    """Multiplier of the learning rate and weight decay of every parameter."""
    found = {}
    for group in groups_of(model, *args, **kwargs):
        assert group['lr'] == pytest.approx(0.1 * group['lr_mult'])
        for parameter in group['params']:
            assert parameter not in found, 'it is in two groups'
            found[parameter] = (group['lr_mult'], group['weight_decay'])
    return {name: found[p] for name, p in model.named_parameters() if p in found}


MODEL_KINDS = {'segmentor': segmentor, 'classifier': classifier, 'detector': Detector}


@pytest.mark.parametrize('kind', MODEL_KINDS)
@pytest.mark.parametrize('wrapped', [False, True], ids=['bare', 'wrapped'])
def test_every_kind_of_model(kind, wrapped):
    model = MODEL_KINDS[kind]()
    settings = settings_of(Wrapper(model) if wrapped else model, flat_decay_mult=0.0)
    assert len(settings) == len(list(model.parameters()))
    shapes = {name: p.ndim for name, p in model.named_parameters()}
    for name, (lr_mult, weight_decay) in settings.items():
        part = name.removeprefix('module.').removeprefix('backbone.').split('.')
        block = int(part[1]) if part[0] == 'blocks' else None
        embeds = part[0] in ('patch_embed', 'pos_embed')
        expected = 0.5**4 if embeds else 1.0 if block is None else 0.5 ** (3 - block)
        assert lr_mult == pytest.approx(expected), name
        assert weight_decay == (0.05 if shapes[name.removeprefix('module.')] > 1 else 0.0), name


def test_a_backbone_alone_and_one_that_is_wrapped():
    backbone = Detector().backbone
    expected = settings_of(backbone)
    assert {lr for lr, _ in expected.values()} == {0.5**i for i in range(1, 5)}
    model = Detector(Wrapper(backbone))
    got = settings_of(model)
    assert {name: got[f'backbone.module.{name}'] for name in expected} == expected


def test_one_group_a_level_and_weight_decay():
    model = Detector()
    groups = groups_of(model, flat_decay_mult=0.0)
    keys = [(group['level'], group['weight_decay']) for group in groups]
    assert keys == [(level, decay) for level in range(5) for decay in (0.05, 0.0)]
    assert sum(len(group['params']) for group in groups) == len(list(model.parameters()))


def test_custom_keys():
    keys = {
        'pos_embed': dict(decay_mult=0.0),
        'neck': dict(lr_mult=10.0),
        'neck.bias': dict(lr_mult=20.0, decay_mult=0.5),  # the longer key counts
        'blocks.2': dict(lr_mult=4.0),
    }
    settings = settings_of(Detector(), custom_keys=keys, flat_decay_mult=0.0)
    assert settings['backbone.pos_embed.embed'] == (0.5**4, 0.0)
    assert settings['neck.weight'] == (10.0, 0.05)
    assert settings['neck.bias'] == (20.0, 0.025)
    last = {s for name, s in settings.items() if name.startswith('backbone.blocks.2.')}
    assert last == {(2.0, 0.05)}, 'a key takes the place of flat_decay_mult'


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('norm_decay_mult', ('norm', 'bbox_head.1.')),
        ('bias_decay_mult', ('.bias',)),
        ('dwconv_decay_mult', ('.conv.',)),
    ],
)
def test_exemptions_from_weight_decay(option, words):
    settings = settings_of(Detector(), **{option: 0.25})
    spared = {name for name, (_, decay) in settings.items() if decay == 0.0125}
    assert spared == {name for name in settings if any(word in name for word in words)}
    assert {decay for _, decay in settings.values()} == {0.05, 0.0125}


def test_frozen_parameters_are_left_out():
    model = Detector(VisionLSTM(arch=VIL['arch'], img_size=64, frozen_stages=1))
    settings = settings_of(model, custom_keys=dict(pos_embed=dict(decay_mult=0.0)))
    assert set(settings) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_shared_parameter_is_in_one_group():
    model = Detector()
    model.second = nn.Conv2d(16, 8, 1)
    model.second.weight = model.neck.weight
    assert len(settings_of(model)) == len(list(model.parameters()))


# mmpretrain's backbones


@pytest.mark.parametrize(
    ('cfg', 'levels', 'depths'),
    [
        (
            dict(type='VisionTransformer', arch='deit-tiny', out_type='featmap', final_norm=False),
            14,
            {'cls_token': 0, 'pos_embed': 0, 'patch_embed.projection.weight': 0}
            | {f'layers.{i}.attn.qkv.weight': i + 1 for i in range(12)},
        ),
        (
            dict(type='SwinTransformer', arch='tiny', out_indices=(0, 1, 2, 3)),
            14,
            {
                'patch_embed.projection.weight': 0,
                'stages.0.blocks.0.attn.w_msa.qkv.weight': 1,
                'stages.2.blocks.5.ffn.layers.0.0.weight': 10,
                'stages.3.blocks.1.norm1.weight': 12,
                'norm3.weight': 13,
            },
        ),
        (
            dict(type='ConvNeXt', arch='small', out_indices=(0, 1, 2, 3)),
            14,
            {
                'downsample_layers.0.0.weight': 0,
                'stages.0.0.depthwise_conv.weight': 1,
                'stages.2.26.depthwise_conv.weight': 11,
                'stages.3.2.gamma': 12,
                'norm3.weight': 13,
            },
        ),
    ],
    ids=['DeiT', 'Swin', 'ConvNeXt'],
)
def test_backbones_of_mmpretrain(cfg, levels, depths):
    model = Detector(MODELS.build(dict(cfg, type=f'mmpretrain.{cfg["type"]}')))
    found, number = read_depths(model)
    assert number == levels
    by_name = dict(model.backbone.named_parameters())
    assert {name: found[by_name[name]] for name in depths} == depths
    multipliers = settings_of(model, rate=0.65)
    for name, depth in depths.items():
        lr_mult, _ = multipliers[f'backbone.{name}']
        assert lr_mult == pytest.approx(0.65 ** (levels - 1 - depth))


# refusals


def test_backbone_without_depths():
    model = Detector(nn.Sequential(nn.Conv2d(3, 16, 1)))
    with pytest.raises(LayerDecayError, match='Sequential has no get_layer_depth'):
        groups_of(model)
    with pytest.raises(LayerDecayError, match='Linear has no get_layer_depth'):
        find_backbone(nn.Linear(2, 2))


@pytest.mark.parametrize('rate', [None, 0, 1.5, -0.5, '0.65'])
def test_rates_out_of_range(rate):
    with pytest.raises(LayerDecayError, match=r'layer_decay_rate must be a number in \(0, 1\]'):
        groups_of(Detector(), rate)


def test_rate_one_is_no_decay():
    assert {lr for lr, _ in settings_of(Detector(), rate=1).values()} == {1.0}


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(decay_rate=0.5), 'paramwise_cfg does not know decay_rate; it has layer_decay_rate'),
        (
            dict(custom_keys=dict(neck=dict(lr_mul=2))),
            r"custom_keys\['neck'\] does not know lr_mul",
        ),
        (dict(custom_keys=dict(neck=0.0)), r"custom_keys\['neck'\] must be a dict, got 0\.0"),
        (dict(custom_keys=dict(absolute=dict(decay_mult=0.0))), 'matches absolute; fix'),
    ],
)
def test_options_that_mean_nothing(options, words):
    with pytest.raises(LayerDecayError, match=words):
        groups_of(Detector(), **options)


def test_a_rule_without_parameters():
    model = Detector()
    model.bbox_head = nn.Conv2d(8, 4, 3)
    groups_of(model, norm_decay_mult=0.0)  # the backbone has norms of its own
    for module in model.modules():
        if hasattr(module, 'bias'):
            module.bias = None
    with pytest.raises(LayerDecayError, match='matches bias_decay_mult'):
        groups_of(model, bias_decay_mult=0.0)


def test_nothing_is_decayed():
    model = Detector(VisionLSTM(arch=VIL['arch'], img_size=64, frozen_stages=3))
    with pytest.raises(LayerDecayError, match='no trainable parameter is below'):
        groups_of(model)


@pytest.mark.parametrize('missing', ['lr', 'weight_decay'])
def test_optimizer_has_to_say_what_is_multiplied(missing):
    optimizer = dict(type='AdamW', lr=0.1, weight_decay=0.05)
    del optimizer[missing]
    cfg = dict(
        optimizer=optimizer,
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )
    with pytest.raises(LayerDecayError, match=f'does not set {missing}, which'):
        build_optim_wrapper(Detector(), cfg)


# what is told


def test_the_groups_are_logged_as_a_table():
    logger = MMLogger.get_instance('layer_decay_test')
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger.addHandler(handler)
    groups = groups_of(Detector(), flat_decay_mult=0.0)
    assert f'Parameter groups:\n{format_groups(groups)}' in records
    logger.removeHandler(handler)


def test_table():
    groups = [
        dict(level=0, lr_mult=0.65**13, weight_decay=0.05, params=[torch.zeros(1000, 3)]),
        dict(level=13, lr_mult=1.0, weight_decay=0.0, params=[torch.zeros(2), torch.zeros(3)]),
    ]
    assert [line.split() for line in format_groups(groups).splitlines()] == [
        ['level', 'lr', 'x', 'weight', 'decay', 'tensors', 'parameters'],
        ['0', '0.0037', '0.05', '1', '3,000'],
        ['13', '1', '0', '2', '5'],
    ]
