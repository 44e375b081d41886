"""The classifiers' configs against the table of the published recipes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model.weight_init import trunc_normal_
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from mmpretrain.utils import register_all_modules
from recipe_tables import read_table
from torch import nn

import vil_mm
from vil_mm.pictures.schedule import (
    WarmupCosine,
    read_recipe,
    relative_difference,
    scheduled_rates,
)
from vil_mm.zoo import find_config, find_model

TABLE = read_table(Path(__file__).with_name('recipes_classification.csv'))
RUNS = [name for name, row in TABLE.items() if row.epochs]
EVALUATIONS = [name for name, row in TABLE.items() if not row.epochs]
FINE_TUNED = [name for name in RUNS if TABLE[name].starts_from]
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
    """The comment at the top of a config, on one line."""
    text = find_config(name).read_text().split('_base_ =')[0]
    return ' '.join(line.lstrip('# ') for line in text.splitlines())


def test_every_classifier_has_its_row() -> None:
    configs = vil_mm.CONFIG_DIR.rglob('vil_*.py')
    names = {path.stem for path in configs if '_base_' not in path.parts}
    assert names == {*TABLE, *VTAB, 'vil_t_imagenette_cpu'}


@pytest.mark.parametrize('name', RUNS)
def test_recipe(name: str) -> None:
    cfg, row = load(name), TABLE[name]
    optim, clip = cfg.optim_wrapper, cfg.optim_wrapper.clip_grad
    total, warmup = row.epochs * row.updates, row.warmup * row.updates
    assert cfg.auto_scale_lr == dict(base_batch_size=row.batch, enable=False)
    assert cfg.updates_per_epoch == row.updates and cfg.train_cfg.max_iters == total
    assert read_recipe(cfg) == WarmupCosine(row.lr, row.end_lr, warmup, total)
    assert (optim.optimizer.type, optim.optimizer.betas) == ('AdamW', (0.9, 0.999))
    assert optim.optimizer.weight_decay == row.decay and (clip and clip.max_norm) == row.clip
    assert (optim.type, optim.get('dtype', 'bfloat16')) == ('AutocastOptimWrapper', 'bfloat16')


@pytest.mark.parametrize('name', TABLE)
def test_the_model_is_what_the_name_says(name: str) -> None:
    cfg, row = load(name), TABLE[name]
    backbone = cfg.model.backbone
    assert backbone.type == 'VisionLSTM' and backbone.get('init_cfg') is None
    assert (backbone.arch, backbone.version, backbone.out_type) == (
        row.arch,
        row.version,
        row.pooling,
    )
    assert (backbone.img_size, backbone.get('stride')) == (row.pixels, row.stride)
    assert backbone.get('traversal', 'alternating') == row.traversal
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == row.classes
    assert backbone.get('drop_path_rate', 0.0) == row.drop_path
    assert not backbone.get('drop_path_decay'), 'the rate is the same in all layers'


@pytest.mark.parametrize('name', RUNS)
def test_rates_of_the_schedule(name: str) -> None:
    row = TABLE[name]
    total = row.epochs * row.updates
    rates = _rates(str(load(name).param_scheduler), row.lr, total)
    expected = WarmupCosine(row.lr, row.end_lr, row.warmup * row.updates, total)
    assert relative_difference(rates, expected).max() < 1e-9


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
    cfg, size = load(name), TABLE[name].pixels
    gpus = int(re.search(r'--nproc-per-node (\d+) ', head_comment(name))[1])
    assert cfg.train_dataloader.batch_size * gpus == TABLE[name].batch
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


@pytest.mark.parametrize('name', TABLE)
def test_head_comment_has_source_length_and_score(name: str) -> None:
    text = head_comment(name)
    assert 'Vision-LSTM (Alkin et al., ' in text
    for score in find_model(name).metrics.values():
        told = re.findall(r'\d+\.\d+', text)
        assert any(abs(float(number) - score) < 0.051 for number in told), score
    if name in RUNS:
        assert f'{TABLE[name].epochs} epochs' in text
        assert f'{TABLE[name].pixels} px' in text


@pytest.mark.parametrize('name', FINE_TUNED)
def test_fine_tuning_starts_from_the_last_weights(name: str) -> None:
    parent = TABLE[name].starts_from
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


def test_parameters_of_block_designs() -> None:
    """The table of the page counts them for 224 px and 1000 classes."""
    page = (vil_mm.CONFIG_DIR.parent / 'docs' / 'classification.md').read_text()
    rows = re.findall(r'^\| `(\w+)`.*? \| ([\d,]{7,}) \|', page, re.MULTILINE)
    assert len(rows) == 7
    for traversal, parameters in rows:
        cfg = load(f'vil_v1_t_in100_128_{traversal}')
        cfg.model.head.num_classes = 1000
        count = sum(p.numel() for p in build(cfg, img_size=224).parameters())
        assert f'{count:,}' == parameters, traversal


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
        key: 0.0 if p.dim() == 1 or 'pos_embed' in key else TABLE[name].decay
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
