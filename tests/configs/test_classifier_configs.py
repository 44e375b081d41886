"""The classifiers' configs against the published recipes, which their names say in short."""

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
from vil_mm.pictures.schedule import read_recipe, relative_difference, scheduled_rates
from vil_mm.zoo import find_config, find_model


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


LONG = Schedule(2048, 625, 800, 5, 2e-3, 1e-6, 0.05, 1.0)
LARGE_BATCH = LONG._replace(epochs=400)
SMALL_BATCH = Schedule(1024, 1251, 400, 5, 1e-3, 1e-6, 0.05, 1.0)
TUNING = Schedule(1024, 1251, 20, 5, 1e-5, 1e-6, 0.05, None)
SHORT_TUNING = TUNING._replace(epochs=5, warmup=1)
CONSTANT = Schedule(1024, 1251, 30, 5, 1e-5, 1e-5, 1e-8, None)
IN100 = Schedule(1024, 126, 400, 50, 1e-3, 1e-6, 0.05, 1.0)

ARCHS = {'t': 'tiny', 'tplus': 'tiny+', 's': 'small', 'splus': 'small+', 'b': 'base'}
DROP_PATH = {'t': 0.0, 's': 0.05, 'b': 0.2}
NAME = re.compile(
    r'vil_(?P<v1>v1_)?(?P<size>tplus|splus|t|s|b)_(?P<of>e400_|stride8_)?'
    r'(?P<data>in1k|in100|imagenet_\w+?)(_(?P<pixels>\d+))?_(?P<kind>\w+)'
)
CLASSIFIERS = {
    path.stem for path in vil_mm.CONFIG_DIR.rglob('vil_*.py') if '_base_' not in path.parts
}
VTAB = {f'vil_{size}_vtab1k': ARCHS[size] for size in 'tsb'}
OTHERS = VTAB.keys() | {'vil_t_imagenette_cpu'}
EVALUATIONS = sorted(name for name in CLASSIFIERS if name.endswith('_eval'))
RUNS = sorted(CLASSIFIERS - OTHERS - set(EVALUATIONS))
FINE_TUNED_FROM = {
    'vil_t_in1k_224_finetune': 'vil_t_in1k_192_e800',
    'vil_t_e400_in1k_224_finetune': 'vil_t_in1k_192_e400',
    'vil_s_in1k_224_finetune': 'vil_s_in1k_192_e400',
    'vil_b_in1k_224_finetune': 'vil_b_in1k_192_e400',
    'vil_v1_tplus_in1k_224_stride8': 'vil_v1_tplus_in1k_224_e800',
    'vil_v1_splus_in1k_224_stride8': 'vil_v1_splus_in1k_224_e400',
    'vil_v1_b_in1k_224_stride8': 'vil_v1_b_in1k_224_e400',
    'vil_v1_t_in1k_224_bilateral_concat': 'vil_v1_t_in1k_192_bilateral_concat',
}


def parts_of(name: str) -> dict[str, str | None]:
    found = NAME.fullmatch(name)
    assert found, f'{name} does not say what it is'
    return found.groupdict()


def schedule_of(name: str) -> Schedule:
    parts = parts_of(name)
    if parts['data'] == 'in100':
        return IN100
    if parts['kind'] == 'finetune':
        return SHORT_TUNING if parts['size'] == 'b' else TUNING
    if name in FINE_TUNED_FROM:
        return CONSTANT
    if parts['kind'] == 'e800':
        return LONG
    return SMALL_BATCH if parts['v1'] and parts['size'] != 'b' else LARGE_BATCH


def pooling_of(name: str) -> str:
    parts = parts_of(name)
    if not parts['v1']:
        return 'bilateral_concat'
    if parts['data'] == 'in100':
        return 'last' if parts['kind'] == 'unidirectional' else 'bilateral_avg'
    kinds = ('avg', 'middle_patch', 'middle_cls', 'bilateral_concat')
    return parts['kind'] if parts['kind'] in kinds else 'bilateral_avg'


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
    """The comment at the top of a config, on one line."""
    text = find_config(name).read_text().split('_base_ =')[0]
    return ' '.join(line.lstrip('# ') for line in text.splitlines())


@pytest.mark.parametrize('name', RUNS)
def test_recipe(name: str) -> None:
    cfg = load(name)
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
    assert found == schedule_of(name)
    assert cfg.max_iters == cfg.train_cfg.max_iters == found.epochs * found.updates
    assert cfg.warmup_iters == found.warmup * found.updates
    assert (optim.type, optim.get('dtype', 'bfloat16')) == ('AutocastOptimWrapper', 'bfloat16')
    assert (optim.optimizer.type, optim.optimizer.betas) == ('AdamW', (0.9, 0.999))
    assert cfg.auto_scale_lr.enable is False


@pytest.mark.parametrize('name', [*RUNS, *EVALUATIONS])
def test_the_model_is_what_the_name_says(name: str) -> None:
    cfg, parts = load(name), parts_of(name)
    backbone = cfg.model.backbone
    assert backbone.type == 'VisionLSTM' and backbone.get('init_cfg') is None
    assert backbone.version == (1 if parts['v1'] else 2)
    assert backbone.arch == ARCHS[parts['size']]
    assert backbone.img_size == int(parts['pixels'] or 224)
    assert backbone.get('stride') == (8 if 'stride8' in name else None)
    assert backbone.out_type == pooling_of(name)
    designs = parts['data'] == 'in100'
    assert backbone.get('traversal', 'alternating') == (parts['kind'] if designs else 'alternating')
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 1000 - 900 * designs
    drop_path = DROP_PATH[parts['size'][0]] if name in RUNS else 0.0
    assert backbone.get('drop_path_rate', 0.0) == drop_path
    assert not backbone.get('drop_path_decay'), 'the rate is the same in all layers'


@pytest.mark.parametrize('name', RUNS)
def test_rates_of_the_schedule(name: str) -> None:
    _, updates, epochs, warmup_epochs, lr, end_lr, _, _ = schedule_of(name)
    warmup, total = warmup_epochs * updates, epochs * updates
    rates = _rates(str(load(name).param_scheduler), lr, total)
    assert len(rates) == total
    third = warmup + (total - 1 - warmup) // 3
    cosine = math.cos(math.pi * (third - warmup) / (total - 1 - warmup))
    expected = {
        0: lr / (warmup + 1),
        warmup - 1: lr * warmup / (warmup + 1),
        warmup: lr,
        third: end_lr + (lr - end_lr) * (1 + cosine) / 2,
        -1: end_lr,
    }
    assert [rates[i] for i in expected] == pytest.approx(list(expected.values()), rel=1e-9)


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
    cfg, size = load(name), int(parts_of(name)['pixels'])
    gpus = int(re.search(r'--nproc-per-node (\d+) ', head_comment(name))[1])
    assert cfg.train_dataloader.batch_size * gpus == schedule_of(name).batch
    assert cfg.train_dataloader.batch_size % 2 == 0, 'partners are the reversed batch'
    assert f'{gpus} GPUs x {cfg.train_dataloader.batch_size} images' in head_comment(name)
    assert cfg.train_dataloader.drop_last
    assert cfg.train_dataloader.sampler.type == 'ReplayableInfiniteSampler'
    train, test = (
        {step.type: step for step in cfg[f'{split}_dataloader'].dataset.pipeline}
        for split in ('train', 'test')
    )
    assert train['RandomResizedCrop'].scale == size
    assert test['ResizeEdge'].scale == test['CenterCrop'].crop_size == size


@pytest.mark.parametrize('name', [*RUNS, *EVALUATIONS])
def test_head_comment_has_source_length_and_score(name: str) -> None:
    text = head_comment(name)
    assert 'Vision-LSTM (Alkin et al., ' in text
    for score in find_model(name).metrics.values():
        told = re.findall(r'\d+\.\d+', text)
        assert any(abs(float(number) - score) < 0.051 for number in told), score
    if name in RUNS:
        assert f'{schedule_of(name).epochs} epochs' in text
        assert f'{parts_of(name)["pixels"]} px' in text


@pytest.mark.parametrize(('name', 'parent'), FINE_TUNED_FROM.items())
def test_fine_tuning_starts_from_the_last_weights(name: str, parent: str) -> None:
    last = f'work_dirs/{parent}/iter_{load(parent).train_cfg.max_iters}.pth'
    assert load(name).load_from == last
    assert load(parent).default_hooks.checkpoint.get('save_last', True)


@pytest.mark.parametrize('name', EVALUATIONS)
def test_evaluation_only(name: str) -> None:
    cfg = load(name)
    # mmengine wants all three of these, or none
    assert all(cfg.get(key) is None for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'))
    assert all(cfg.get(key) for key in ('test_dataloader', 'test_cfg', 'test_evaluator'))


def num_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ('name', 'width', 'expected'),
    [('vil_t_in1k_eval', 2048, 310_489_448), ('vil_v1_t_in1k_eval', 1024, 308_282_728)],
    ids=['version 2', 'version 1'],
)
def test_parameters_of_the_large_model(name: str, width: int, expected: int) -> None:
    cfg = load(name)
    cfg.model.head.in_channels = width
    assert num_parameters(build(cfg, arch='large')) == expected


def test_parameters_of_block_designs() -> None:
    """The table of the page counts them for 224 px and 1000 classes."""
    page = (vil_mm.CONFIG_DIR.parent / 'docs' / 'classification.md').read_text()
    rows = re.findall(r'^\| `(\w+)`.*? \| ([\d,]{7,}) \|', page, re.MULTILINE)
    assert len(rows) == 7
    for traversal, parameters in rows:
        cfg = load(f'vil_v1_t_in100_128_{traversal}')
        cfg.model.head.num_classes = 1000
        assert f'{num_parameters(build(cfg, img_size=224)):,}' == parameters, traversal


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
        key: 0.0 if p.dim() == 1 or 'pos_embed' in key else schedule_of(name).decay
        for key, p in model.named_parameters()
    }
    assert decays == expected
    if 'v1' not in name:
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
