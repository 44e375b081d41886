"""The classifiers' configs against the published recipes, number by number."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model.weight_init import trunc_normal_
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from mmpretrain.utils import register_all_modules
from torch import nn

import vil_mm
from vil_mm.analysis.schedule import read_recipe, relative_difference, scheduled_rates
from vil_mm.zoo import find_config


class Schedule(NamedTuple):
    """The numbers of a recipe: images a batch, updates an epoch, epochs, learning rate after
    scaling by the batch, weight decay, largest norm of the gradient."""

    batch: int
    updates: int
    epochs: int
    warmup: int
    lr: float
    end_lr: float
    decay: float
    clip: float | None


class Run(NamedTuple):
    """A training of the papers; ``top1`` in percent, ``parent`` is the config it starts from."""

    schedule: Schedule
    version: int
    arch: str
    pooling: str
    img_size: int
    drop_path: float
    top1: str
    parent: str | None = None
    traversal: str = 'alternating'
    stride: int | None = None
    classes: int = 1000


LONG = Schedule(2048, 625, 800, 5, 2e-3, 1e-6, 0.05, 1.0)
LARGE_BATCH = LONG._replace(epochs=400)
SMALL_BATCH = Schedule(1024, 1251, 400, 5, 1e-3, 1e-6, 0.05, 1.0)
TUNING = Schedule(1024, 1251, 20, 5, 1e-5, 1e-6, 0.05, None)
SHORT_TUNING = TUNING._replace(epochs=5, warmup=1)
CONSTANT = Schedule(1024, 1251, 30, 5, 1e-5, 1e-5, 1e-8, None)
IN100 = Schedule(1024, 126, 400, 50, 1e-3, 1e-6, 0.05, 1.0)
ENDS, MEAN = 'bilateral_concat', 'bilateral_avg'
RUNS = {
    # version 2
    'vil_t_in1k_192_e800': Run(LONG, 2, 'tiny', ENDS, 192, 0.0, '78.3'),
    'vil_t_in1k_192_e400': Run(LARGE_BATCH, 2, 'tiny', ENDS, 192, 0.0, '77.2'),
    'vil_s_in1k_192_e400': Run(LARGE_BATCH, 2, 'small', ENDS, 192, 0.05, '81.5'),
    'vil_b_in1k_192_e400': Run(LARGE_BATCH, 2, 'base', ENDS, 192, 0.2, '82.4'),
    # its fine-tuning
    'vil_t_in1k_224_finetune': Run(
        TUNING, 2, 'tiny', ENDS, 224, 0.0, '78.3', 'vil_t_in1k_192_e800'
    ),
    'vil_t_e400_in1k_224_finetune': Run(
        TUNING, 2, 'tiny', ENDS, 224, 0.0, '77.2', 'vil_t_in1k_192_e400'
    ),
    'vil_s_in1k_224_finetune': Run(
        TUNING, 2, 'small', ENDS, 224, 0.05, '81.5', 'vil_s_in1k_192_e400'
    ),
    'vil_b_in1k_224_finetune': Run(
        SHORT_TUNING, 2, 'base', ENDS, 224, 0.2, '82.4', 'vil_b_in1k_192_e400'
    ),
    # version 1
    'vil_v1_t_in1k_224_e800': Run(LONG, 1, 'tiny', MEAN, 224, 0.0, '77.3'),
    'vil_v1_tplus_in1k_224_e800': Run(LONG, 1, 'tiny+', MEAN, 224, 0.0, '78.1'),
    'vil_v1_t_in1k_224_e400': Run(SMALL_BATCH, 1, 'tiny', MEAN, 224, 0.0, '76.1'),
    'vil_v1_tplus_in1k_224_e400': Run(SMALL_BATCH, 1, 'tiny+', MEAN, 224, 0.0, '77.2'),
    'vil_v1_s_in1k_224_e400': Run(SMALL_BATCH, 1, 'small', MEAN, 224, 0.05, '80.7'),
    'vil_v1_splus_in1k_224_e400': Run(SMALL_BATCH, 1, 'small+', MEAN, 224, 0.05, '80.9'),
    'vil_v1_b_in1k_224_e400': Run(LARGE_BATCH, 1, 'base', MEAN, 224, 0.2, '81.6'),
    # its fine-tuning on 729 tokens
    'vil_v1_tplus_in1k_224_stride8': Run(
        CONSTANT, 1, 'tiny+', MEAN, 224, 0.0, '80.0', 'vil_v1_tplus_in1k_224_e800', stride=8
    ),
    'vil_v1_splus_in1k_224_stride8': Run(
        CONSTANT, 1, 'small+', MEAN, 224, 0.05, '82.2', 'vil_v1_splus_in1k_224_e400', stride=8
    ),
    'vil_v1_b_in1k_224_stride8': Run(
        CONSTANT, 1, 'base', MEAN, 224, 0.2, '82.7', 'vil_v1_b_in1k_224_e400', stride=8
    ),
    # poolings
    'vil_v1_t_in1k_224_bilateral_concat': Run(
        CONSTANT, 1, 'tiny', ENDS, 224, 0.0, '76.4', 'vil_v1_t_in1k_192_bilateral_concat'
    ),
    **{
        f'vil_v1_t_in1k_192_{pooling}': Run(SMALL_BATCH, 1, 'tiny', pooling, 192, 0.0, top1)
        for pooling, top1 in {
            'avg': '75.4',
            'middle_patch': '75.9',
            'middle_cls': '75.3',
            'bilateral_avg': '75.9',
            'bilateral_concat': '76.4',
        }.items()
    },
    # block designs
    **{
        f'vil_v1_t_in100_128_{traversal}': Run(
            IN100, 1, 'tiny', pooling, 128, 0.0, top1, None, traversal, classes=100
        )
        for traversal, pooling, top1 in (
            ('unidirectional', 'last', '72.8'),
            ('bidirectional', MEAN, '74.8'),
            ('bidirectional_shared', MEAN, '73.3'),
            ('alternating', MEAN, '74.8'),
            ('quad', MEAN, '76.3'),
            ('quad_shared', MEAN, '72.8'),
            ('alternating_quad', MEAN, '75.6'),
        )
    },
}
EVALUATIONS = {
    'vil_t_in1k_eval': (2, 'tiny', None, '78.3'),
    'vil_s_in1k_eval': (2, 'small', None, '81.5'),
    'vil_b_in1k_eval': (2, 'base', None, '82.4'),
    'vil_v1_t_in1k_eval': (1, 'tiny', None, '77.3'),
    'vil_v1_tplus_in1k_eval': (1, 'tiny+', None, '78.1'),
    'vil_v1_s_in1k_eval': (1, 'small', None, '80.7'),
    'vil_v1_splus_in1k_eval': (1, 'small+', None, '80.9'),
    'vil_v1_b_in1k_eval': (1, 'base', None, '81.6'),
    'vil_v1_tplus_stride8_in1k_eval': (1, 'tiny+', 8, '80.0'),
    'vil_v1_splus_stride8_in1k_eval': (1, 'small+', 8, '82.2'),
    'vil_v1_b_stride8_in1k_eval': (1, 'base', 8, '82.7'),
    **{
        f'vil_{key}_imagenet_{variant}_eval': (2, arch, None, '')
        for key, arch in (('t', 'tiny'), ('s', 'small'), ('b', 'base'))
        for variant in ('a', 'r', 'sketch', 'c')
    },
}
WIDTHS = {'tiny': 192, 'tiny+': 192, 'small': 384, 'small+': 384, 'base': 768}
VTAB = {'vil_t_vtab1k': 'tiny', 'vil_s_vtab1k': 'small', 'vil_b_vtab1k': 'base'}


@cache
def _load(name: str) -> Config:
    return Config.fromfile(find_config(name))


def load(name: str) -> Config:
    """A config of one's own to change."""
    return _load(name).copy()


def build(cfg: Config, **backbone) -> nn.Module:
    """The classifier without memory; ``backbone`` overrides what the config says of it."""
    register_all_modules(init_default_scope=True)
    model = cfg.model.to_dict()
    model['backbone'].update(backbone)
    with torch.device('meta'):
        return MODELS.build(model)


def head_comment(name: str) -> str:
    return find_config(name).read_text().split('_base_')[0]


def test_every_classifier_config_is_tested_here() -> None:
    here = {path.stem for path in vil_mm.CONFIG_DIR.rglob('vil_*.py') if '_base_' not in path.parts}
    assert here == RUNS.keys() | EVALUATIONS.keys() | VTAB.keys() | {'vil_t_imagenette_cpu'}


@pytest.mark.parametrize('name', RUNS)
def test_recipe(name: str) -> None:
    cfg, run = load(name), RUNS[name]
    optim, clip = cfg.optim_wrapper, cfg.optim_wrapper.clip_grad
    found = Schedule(
        cfg.auto_scale_lr.base_batch_size,
        cfg.updates_per_epoch,
        cfg.train_cfg.max_iters // cfg.updates_per_epoch,
        cfg.warmup_iters // cfg.updates_per_epoch,
        optim.optimizer.lr,
        cfg.end_lr,
        optim.optimizer.weight_decay,
        clip and clip.max_norm,
    )
    assert found == run.schedule
    assert cfg.max_iters == cfg.train_cfg.max_iters == found.epochs * found.updates
    assert cfg.warmup_iters == found.warmup * found.updates
    assert (optim.type, optim.get('dtype', 'bfloat16')) == ('AutocastOptimWrapper', 'bfloat16')
    assert (optim.optimizer.type, optim.optimizer.betas) == ('AdamW', (0.9, 0.999))
    assert cfg.auto_scale_lr.enable is False


@pytest.mark.parametrize('name', RUNS)
def test_model_of_a_run(name: str) -> None:
    cfg, run = load(name), RUNS[name]
    backbone = cfg.model.backbone
    assert backbone.type == 'VisionLSTM' and backbone.get('init_cfg') is None
    assert (backbone.version, backbone.arch, backbone.img_size) == run[1:3] + (run.img_size,)
    assert (backbone.out_type, backbone.get('drop_path_rate', 0.0)) == (run.pooling, run.drop_path)
    assert backbone.get('traversal', 'alternating') == run.traversal
    assert backbone.get('stride') == run.stride
    assert not backbone.get('drop_path_decay'), 'the rate is the same in all layers'
    assert cfg.model.head.num_classes == run.classes


@pytest.mark.parametrize('name', RUNS)
def test_rates_of_the_schedule(name: str) -> None:
    _, updates, epochs, warmup_epochs, lr, end_lr, _, _ = RUNS[name].schedule
    warmup, total = warmup_epochs * updates, epochs * updates
    rates = _rates(str(load(name).param_scheduler), lr, total)
    assert len(rates) == total
    assert rates[0] == pytest.approx(lr / (warmup + 1), rel=1e-9)
    assert rates[warmup - 1] == pytest.approx(lr * warmup / (warmup + 1), rel=1e-9)
    assert rates[warmup] == pytest.approx(lr, rel=1e-9)
    third = warmup + (total - 1 - warmup) // 3
    cosine = math.cos(math.pi * (third - warmup) / (total - 1 - warmup))
    expected = end_lr + (lr - end_lr) * (1 + cosine) / 2
    assert rates[third] == pytest.approx(expected, rel=1e-9)
    assert rates[-1] == pytest.approx(end_lr, rel=1e-9)


@cache
def _rates(scheduler: str, lr: float, updates: int) -> np.ndarray:
    """Once for all configs with the same schedule."""
    return scheduled_rates(
        Config(
            dict(
                param_scheduler=eval(scheduler),
                optim_wrapper=dict(optimizer=dict(lr=lr)),
                train_cfg=dict(max_iters=updates),
            )
        )
    )


@pytest.mark.parametrize('name', RUNS)
def test_data_of_a_run(name: str) -> None:
    cfg, run = load(name), RUNS[name]
    gpus = int(re.search(r'--nproc-per-node (\d+) ', head_comment(name))[1])
    assert cfg.train_dataloader.batch_size * gpus == run.schedule.batch
    assert cfg.train_dataloader.batch_size % 2 == 0, 'partners are the reversed batch'
    assert f'{gpus} GPUs x {cfg.train_dataloader.batch_size} images' in _unwrapped(name)
    assert cfg.train_dataloader.drop_last
    assert cfg.train_dataloader.sampler.type == 'ReplayableInfiniteSampler'
    assert cfg.data_preprocessor.num_classes == run.classes
    train, test = (
        {step.type: step for step in cfg[f'{split}_dataloader'].dataset.pipeline}
        for split in ('train', 'test')
    )
    assert train['RandomResizedCrop'].scale == run.img_size
    assert test['ResizeEdge'].scale == test['CenterCrop'].crop_size == run.img_size
    assert cfg.train_cfg.type == 'IterBasedTrainLoop'
    assert cfg.train_cfg.max_iters % cfg.train_cfg.val_interval == 0


@pytest.mark.parametrize('name', [*RUNS, *EVALUATIONS])
def test_head_comment(name: str) -> None:
    text = _unwrapped(name)
    assert 'Vision-LSTM (Alkin et al., ' in text
    assert (RUNS[name].top1 if name in RUNS else EVALUATIONS[name][3]) in text
    if name in RUNS:
        assert (
            f'{RUNS[name].schedule.epochs} epochs' in text and f'{RUNS[name].img_size} px' in text
        )


def _unwrapped(name: str) -> str:
    return ' '.join(line.lstrip('# ') for line in head_comment(name).splitlines())


@pytest.mark.parametrize('name', [name for name, run in RUNS.items() if run.parent])
def test_fine_tuning_starts_from_the_last_weights(name: str) -> None:
    parent = load(RUNS[name].parent)
    last = f'work_dirs/{RUNS[name].parent}/iter_{parent.train_cfg.max_iters}.pth'
    assert load(name).load_from == last
    assert parent.default_hooks.checkpoint.get('save_last', True)


@pytest.mark.parametrize('name', EVALUATIONS)
def test_evaluation_only(name: str) -> None:
    cfg, (version, arch, stride, _) = load(name), EVALUATIONS[name]
    backbone = cfg.model.backbone
    assert (backbone.version, backbone.arch) == (version, arch)
    assert backbone.get('stride') == stride and backbone.img_size == 224
    # mmengine wants all three of these, or none
    assert all(cfg.get(key) is None for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'))
    assert all(cfg.get(key) for key in ('test_dataloader', 'test_cfg', 'test_evaluator'))


@pytest.mark.parametrize('name', [*RUNS, *EVALUATIONS])
def test_head_fits_the_backbone(name: str) -> None:
    cfg = load(name)
    size, width = cfg.model.backbone.img_size, WIDTHS[cfg.model.backbone.arch]
    model = build(cfg, arch=dict(embed_dims=width, num_layers=4)).eval()
    logits = model(torch.empty(2, 3, size, size, device='meta'))
    assert logits.shape == (2, cfg.model.head.num_classes)


def num_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ('name', 'expected'),
    {
        'vil_t_in1k_eval': 6_391_528,
        'vil_s_in1k_eval': 23_398_696,
        'vil_b_in1k_eval': 89_263_528,
        'vil_t_in1k_192_e800': 6_381_544,
        'vil_s_in1k_192_e400': 23_378_728,
        'vil_b_in1k_192_e400': 89_223_592,
        'vil_v1_t_in1k_eval': 6_088_360,
        'vil_v1_tplus_in1k_eval': 7_277_840,
        'vil_v1_s_in1k_eval': 22_792_360,
        'vil_v1_splus_in1k_eval': 24_628_664,
        'vil_v1_b_in1k_eval': 88_050_856,
        'vil_v1_tplus_in1k_224_stride8': 7_277_840,
        'vil_v1_splus_in1k_224_stride8': 24_628_664,
        'vil_v1_b_in1k_224_stride8': 88_050_856,
    }.items(),
)
def test_published_parameter_counts(name: str, expected: int) -> None:
    assert num_parameters(build(load(name))) == expected


@pytest.mark.parametrize(
    ('name', 'width', 'expected'),
    [('vil_t_in1k_eval', 2048, 310_489_448), ('vil_v1_t_in1k_eval', 1024, 308_282_728)],
    ids=['version 2', 'version 1'],
)
def test_parameters_of_the_large_model(name: str, width: int, expected: int) -> None:
    cfg = load(name)
    cfg.model.head.in_channels = width
    assert num_parameters(build(cfg, arch='large')) == expected


@pytest.mark.parametrize(
    ('traversal', 'expected'),
    {
        'unidirectional': 6_088_360,
        'bidirectional': 6_484_840,
        'bidirectional_shared': 6_088_360,
        'alternating': 6_088_360,
        'quad': 7_277_800,
        'quad_shared': 6_088_360,
        'alternating_quad': 6_088_360,
    }.items(),
)
def test_parameters_of_block_designs(traversal: str, expected: int) -> None:
    """The table counts them for 224 px and 1000 classes."""
    cfg = load(f'vil_v1_t_in100_128_{traversal}')
    cfg.model.head.num_classes = 1000
    assert num_parameters(build(cfg, img_size=224)) == expected


def groups_by_name(model: nn.Module, cfg: Config) -> dict[str, dict]:
    """Parameter group of the optimizer for every parameter."""
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    groups = {id(p): group for group in optimizer.param_groups for p in group['params']}
    return {name: groups[id(p)] for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    'name',
    ['vil_t_in1k_192_e800', 'vil_s_in1k_192_e400', 'vil_b_in1k_192_e400', 'vil_b_in1k_224_finetune']
    + ['vil_v1_tplus_in1k_224_e800', 'vil_v1_t_in100_128_quad', 'vil_v1_b_in1k_224_stride8'],
)
def test_weight_decay_spares_vectors_and_position_embedding(name: str) -> None:
    cfg = load(name)
    model = build(cfg)
    decays = {key: group['weight_decay'] for key, group in groups_by_name(model, cfg).items()}
    expected = {
        key: 0.0 if p.dim() == 1 or 'pos_embed' in key else RUNS[name].schedule.decay
        for key, p in model.named_parameters()
    }
    assert decays == expected
    if RUNS[name].version == 2:
        decayed = sum(decay > 0 for decay in decays.values())
        assert (decayed, len(decays) - decayed) == (194, 319)


@pytest.mark.parametrize('name', ['vil_t_in1k_192_e800', 'vil_v1_s_in1k_224_e400'])
def test_head_starts_near_zero(name: str) -> None:
    torch.manual_seed(0)
    cfg = load(name).model.head
    head = MODELS.build(cfg)
    head.init_weights()
    weight = head.fc.weight
    assert weight.std().item() == pytest.approx(2e-5, rel=0.01)
    assert abs(weight.mean().item()) < 2e-7 and weight.abs().max() <= 1e-4
    assert not head.fc.bias.any()


def test_head_has_no_outlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 gives the lower bound of a uniform distribution itself once in 2^24 draws."""
    cfg = load('vil_t_in1k_192_e800').model.head.init_cfg
    monkeypatch.setattr(torch.Tensor, 'uniform_', lambda self, low, high: self.fill_(low))
    lowest = trunc_normal_(torch.empty(4), std=cfg.std, a=cfg.a, b=cfg.b)
    assert lowest.min() >= -1.1e-4
    assert (trunc_normal_(torch.empty(4), std=cfg.std) == -2).all(), 'the default cut'


def test_loss_is_soft_cross_entropy() -> None:
    """-sum(t log softmax(x)) averaged over the batch; nothing is smoothed."""
    torch.manual_seed(0)
    head = MODELS.build(load('vil_t_in1k_192_e800').model.head)
    features, targets = torch.randn(6, 384), torch.rand(6, 1000).softmax(1)
    samples = [DataSample().set_gt_score(target) for target in targets]
    logits = (features @ head.fc.weight.T + head.fc.bias).double()
    expected = -(targets * (logits - logits.logsumexp(1, keepdim=True))).sum(1).mean()
    assert head.loss((features,), samples)['loss'].item() == pytest.approx(expected.item(), 1e-6)


def test_every_batch_is_mixed() -> None:
    augments = load('vil_t_in1k_192_e800').model.train_cfg
    assert augments == dict(
        augments=[dict(type='ReversedMixup', alpha=0.8), dict(type='ReversedCutMix', alpha=1.0)]
    ), 'without probs: one of the two, with equal chance'
    assert all(load(name).model.train_cfg == augments for name in RUNS)


@pytest.fixture(params=[('cifar', 'train800val200'), ('dtd', 'train800')], ids='-'.join)
def vtab_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Chooses a data set and its training images: its classes and updates an epoch."""
    monkeypatch.setenv('VTAB_DATASET', request.param[0])
    monkeypatch.setenv('VTAB_TRAIN', request.param[1])
    return {'cifar': (100, 15), 'dtd': (47, 12)}[request.param[0]]


@pytest.mark.parametrize('name', VTAB)
def test_vtab_recipe(name: str, vtab_data: tuple[int, int]) -> None:
    classes, updates = vtab_data
    cfg = _load.__wrapped__(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (cfg.model.backbone.arch, cfg.model.head.num_classes) == (VTAB[name], classes)
    assert (cfg.train_dataloader.batch_size, cfg.train_dataloader.drop_last) == (64, True)
    assert cfg.train_cfg.max_iters == 50 * updates
    assert (optimizer.type, optimizer.betas, optimizer.weight_decay) == (
        'AdamW',
        (0.9, 0.999),
        0.05,
    )
    assert 'clip_grad' not in cfg.optim_wrapper
    assert cfg.model.train_cfg is None and cfg.model.head.loss == dict(type='CrossEntropyLoss')
    rates = scheduled_rates(cfg)
    assert rates.argmax() == 5 * updates
    expected = [1e-3 / (5 * updates + 1), 1e-3, 1e-6]
    assert rates[[0, 5 * updates, -1]] == pytest.approx(expected)


@pytest.mark.parametrize('name', VTAB)
def test_vtab_learning_rate_falls_towards_the_input(name: str) -> None:
    cfg = load(name)
    model = build(cfg)
    groups = groups_by_name(model, cfg)
    for key, p in model.named_parameters():
        block = re.match(r'backbone\.blocks\.(\d+)\.', key)
        if block:
            power = 12 - int(block[1])
        else:
            power = 13 if key.startswith(('backbone.patch_embed', 'backbone.pos_embed')) else 0
        assert groups[key]['lr'] == pytest.approx(1e-3 * 0.65**power), key
        decay = 0.0 if p.dim() == 1 or 'pos_embed' in key else 0.05
        assert groups[key]['weight_decay'] == decay, key


def test_imagenette_states_its_schedule() -> None:
    cfg = load('vil_t_imagenette_cpu')
    difference = relative_difference(scheduled_rates(cfg), read_recipe(cfg))
    assert len(difference) == cfg.train_cfg.max_iters and difference.max() < 1e-10
    assert cfg.data_preprocessor.num_classes == cfg.model.head.num_classes == 10
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size
    assert cfg.optim_wrapper.type == 'OptimWrapper', 'float32'
