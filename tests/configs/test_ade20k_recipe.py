"""The configs for ADE20K against the numbers of the recipe, one by one."""

from __future__ import annotations

import math
from pathlib import Path

import published
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from recipe_tables import read_table
from torch import Tensor, nn

from vil_mm import CONFIG_DIR

TABLE = read_table(Path(__file__).with_name('recipes_ade20k.csv'))
PEAK, END, WARMUP, TOTAL, DECAY = 5e-4, 1e-6, 1500, 160_000, 0.65


def path_of(size: str) -> str:
    return str(CONFIG_DIR / f'upernet_vil_{size}_512x512_ade20k.py')


def build(size: str) -> tuple[Config, nn.Module]:
    """A config and its model, without the official weights."""
    cfg = Config.fromfile(path_of(size))
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmseg'):
        return cfg, MODELS.build(cfg.model)


def build_on_meta(size: str) -> tuple[nn.Module, Config, OptimWrapper]:
    with torch.device('meta'):
        cfg, model = build(size)
    return model, cfg, build_optim_wrapper(model, cfg.optim_wrapper)


# learning rates


def formula(update: int) -> float:
    if update < WARMUP:
        return PEAK * (update + 1) / (WARMUP + 1)
    done = (update - WARMUP) / (TOTAL - 1 - WARMUP)
    return END + (PEAK - END) * (1 + math.cos(math.pi * done)) / 2


@pytest.mark.parametrize(
    'levels',
    [(0, 12, 13), pytest.param(range(14), marks=pytest.mark.slow)],
    ids=['first and last', 'all'],
)
def test_learning_rate_of_groups(levels):
    _, cfg, wrapper = build_on_meta('t')
    groups = [group for group in wrapper.optimizer.param_groups if group['level'] in levels]
    wrapper.optimizer.param_groups = groups
    assert len(groups) == 2 * len(levels)  # with and without weight decay
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=wrapper)) for s in cfg.param_scheduler]
    asked = (0, 1, 1499, 1500, 80_000, 159_999)
    rates = {}
    for update in range(TOTAL):
        if update in asked:
            rates[update] = [group['lr'] for group in groups]
        for scheduler in schedulers:
            scheduler.step()
    assert formula(0) == PEAK / 1501 and formula(1500) == PEAK
    assert formula(159_999) == pytest.approx(END, rel=1e-12)
    for update in asked:
        expected = [formula(update) * DECAY ** (13 - group['level']) for group in groups]
        assert rates[update] == pytest.approx(expected, rel=1e-9), update
    assert cfg.train_cfg.max_iters == TOTAL


@pytest.mark.parametrize('size', TABLE)
def test_group_table(size):
    model, cfg, wrapper = build_on_meta(size)
    names = {p: name for name, p in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    assert sum(len(group['params']) for group in groups) == len(names)
    assert len({group['level'] for group in groups if group['lr_mult'] < 1}) == 13
    decayed = 0
    for group in groups:
        assert group['lr'] == pytest.approx(PEAK * group['lr_mult'], rel=1e-12)
        for parameter in group['params']:
            name = names[parameter]
            assert group['lr_mult'] == pytest.approx(multiplier(name), rel=1e-12), name
            spared = parameter.ndim < 2 or 'pos_embed' in name
            assert group['weight_decay'] == (0.0 if spared else 0.05), name
            decayed += name.startswith('backbone.') and not spared
    # eight matrices a layer and the patch embedding; the classifier's head was the 194th
    assert decayed == 193
    optimizer = wrapper.optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults['betas'] == (0.9, 0.999) and optimizer.defaults['eps'] == 1e-8
    assert type(wrapper).__name__ == 'FiniteLossOptimWrapper' and not wrapper.clip_grad_kwargs
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16


def multiplier(name: str) -> float:
    part = name.split('.')
    if part[0] != 'backbone':
        return 1.0
    if part[1] in ('patch_embed', 'pos_embed'):
        return DECAY**13
    assert part[1] == 'blocks'
    return DECAY ** (12 - int(part[2]))  # the last of twelve has 0.65


# model


@pytest.mark.parametrize('size', TABLE)
def test_model(size):
    model, _, _ = build_on_meta(size)
    backbone, row = model.backbone, TABLE[size]
    assert backbone.embed_dims == row.embed_dims
    assert model.decode_head.channels == model.auxiliary_head.channels == row.head_channels
    assert backbone.out_indices == (3, 5, 7, 11)
    assert isinstance(backbone.norm, nn.Identity)
    assert backbone.pos_embed.embed.shape[1:3] == (32, 32)
    assert model.decode_head.dropout is None and model.auxiliary_head.dropout is None
    rates = [layer.drop_path.rate for block in backbone.blocks for layer in block.layers]
    assert rates == pytest.approx([row.drop_path * i / 23 for i in range(24)])
    whole, auxiliary = (
        sum(p.numel() for p in m.parameters()) for m in (model, model.auxiliary_head)
    )
    assert (whole, whole - auxiliary) == (row.parameters, row.parameters_without_auxiliary)
    file = Config.fromfile(path_of(size)).model.backbone.init_cfg
    hub = published.HUB[row.hub]
    assert file == dict(type='Pretrained', checkpoint=f'checkpoints/{hub.file}')
    assert hub.dim == row.embed_dims


@pytest.mark.parametrize('name', ['upernet_vil_t_drawn.py', 'upernet_vil_t_camvid.py'])
def test_configs_of_the_same_model_need_no_file(name):
    cfg = Config.fromfile(CONFIG_DIR / name)
    assert 'init_cfg' not in cfg.model.backbone
    assert 'layer_decay_rate' not in cfg.optim_wrapper.paramwise_cfg


def test_initial_weights():
    """Normal in both heads, also in mmcv's modules; PyTorch's own in the pyramid."""
    _, model = build('t')
    pyramid = [p.detach().clone() for p in model.neck.parameters()]
    torch.manual_seed(0)
    model.init_weights()
    assert all(map(torch.equal, pyramid, model.neck.parameters()))
    bound = 1 / math.sqrt(192 * 4)  # of the uniform distribution for 2x2 kernels
    first = model.neck.upsample_4x[0].weight
    assert 0.99 * bound < first.abs().max() <= bound
    for head, convolutions in ((model.decode_head, 13), (model.auxiliary_head, 2)):
        convs = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
        assert len(convs) == convolutions
        for conv in convs:
            deviation = 0.02 / math.sqrt(conv.weight.numel())
            assert abs(conv.weight.mean().item()) < 5 * deviation
            assert conv.weight.std().item() == pytest.approx(0.02, abs=5 * deviation)
            assert conv.bias is None or not conv.bias.any()
        for norm in (m for m in head.modules() if isinstance(m, nn.BatchNorm2d)):
            assert (norm.weight == 1).all() and not norm.bias.any()


def test_batch_norm_is_plain_and_can_be_synchronised():
    with torch.device('meta'):
        cfg, model = build('t')
    assert cfg.get('sync_bn') is None
    names = {name for name, m in model.named_modules() if type(m) is nn.BatchNorm2d}
    assert len(names) == 14  # 12 of the decoder, one of the auxiliary head, one of the pyramid
    keys = set(model.state_dict())
    model = convert_sync_batchnorm(model, 'torch')
    assert {n for n, m in model.named_modules() if isinstance(m, nn.SyncBatchNorm)} == names
    assert set(model.state_dict()) == keys, 'checkpoints are exchanged between both kinds'
    model = revert_sync_batchnorm(model)
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())


# pyramid, heads and loss, restated in plain PyTorch on the weights of the model


class Restated:
    """Pyramid and heads as the recipe writes them down, on a model's parameters and buffers."""

    def __init__(self, state: dict[str, Tensor], training: bool) -> None:
        self.state = {key: x.clone() for key, x in state.items()}
        self.training = training

    def norm(self, x: Tensor, name: str) -> Tensor:
        keys = ('running_mean', 'running_var', 'weight', 'bias')
        values = (self.state[f'{name}.{key}'] for key in keys)
        return F.batch_norm(x, *values, training=self.training)

    def up(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.state[f'{name}.weight'], self.state[f'{name}.bias']
        return F.conv_transpose2d(x, weight, bias, stride=2)

    def unit(self, x: Tensor, name: str) -> Tensor:
        weight = self.state[f'{name}.conv.weight']
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return self.norm(x, f'{name}.bn').relu()

    def classify(self, x: Tensor, head: str, size: tuple[int, int]) -> Tensor:
        weight, bias = self.state[f'{head}.conv_seg.weight'], self.state[f'{head}.conv_seg.bias']
        return resize(F.conv2d(x, weight, bias), size)

    def pyramid(self, taps: list[Tensor]) -> list[Tensor]:
        finest = self.norm(self.up(taps[0], 'neck.upsample_4x.0'), 'neck.upsample_4x.1')
        return [
            self.up(F.gelu(finest), 'neck.upsample_4x.3'),
            self.up(taps[1], 'neck.upsample_2x.0'),
            taps[2],
            F.max_pool2d(taps[3], 2, 2),
        ]

    def decoder(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        head, coarse = 'decode_head', maps[3]
        pooled = [coarse]
        for i, scale in enumerate((1, 2, 3, 6)):
            x = self.unit(F.adaptive_avg_pool2d(coarse, scale), f'{head}.psp_modules.{i}.1')
            pooled.append(resize(x, coarse.shape[2:]))
        fourth = self.unit(torch.cat(pooled, 1), f'{head}.bottleneck')
        laterals = [self.unit(maps[i], f'{head}.lateral_convs.{i}') for i in range(3)] + [fourth]
        for i in (2, 1, 0):
            laterals[i] = laterals[i] + resize(laterals[i + 1], laterals[i].shape[2:])
        outs = [self.unit(laterals[i], f'{head}.fpn_convs.{i}') for i in range(3)] + [fourth]
        outs = [resize(x, outs[0].shape[2:]) for x in outs]
        return self.classify(self.unit(torch.cat(outs, 1), f'{head}.fpn_bottleneck'), head, size)

    def auxiliary(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        return self.classify(self.unit(maps[2], 'auxiliary_head.convs.0'), 'auxiliary_head', size)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=False)


class Taps(nn.Module):
    """Stands in for the backbone."""

    def __init__(self, taps: list[Tensor]) -> None:
        super().__init__()
        self.taps = taps

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.taps


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize(('size', 'grid'), [('t', (6, 8)), ('b', (4, 4))])
def test_heads_and_loss_restated(size, grid, training):
    torch.manual_seed(0)
    with torch.device('meta'):
        cfg, model = build(size)
    model.backbone = nn.Identity()
    model.to_empty(device='cpu')
    model.double().train(training)
    for name, x in model.state_dict().items():
        if x.is_floating_point():
            x.normal_(std=0.05)
            x.add_(1).abs_() if name.endswith(('bn.weight', '4x.1.weight', 'running_var')) else None
    taps = [torch.randn(2, TABLE[size].embed_dims, *grid).double() for _ in range(4)]
    pixels = (16 * grid[0], 16 * grid[1])
    labels = torch.randint(0, 150, (2, *pixels))
    labels[torch.rand(labels.shape) < 0.3] = 255  # no class: the label 0 of the files

    restated = Restated(model.state_dict(), training)
    maps = restated.pyramid(taps)
    logits, auxiliary = restated.decoder(maps, pixels), restated.auxiliary(maps, pixels)
    losses = [F.cross_entropy(x, labels, ignore_index=255) for x in (logits, auxiliary)]

    model.backbone = Taps(taps)
    images = torch.zeros(2, 3, *pixels).double()
    samples = [SegDataSample(gt_sem_seg=PixelData(data=x[None])) for x in labels]
    before = {key: x.clone() for key, x in model.state_dict().items()}
    total, parts = model.parse_losses(model.loss(images, samples))
    torch.testing.assert_close(parts['decode.loss_ce'], losses[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(total, losses[0] + 0.4 * losses[1], rtol=1e-10, atol=1e-10)
    after = model.state_dict()
    moved = [key for key in after if 'running' in key and not torch.equal(after[key], before[key])]
    assert bool(moved) == training
    torch.testing.assert_close({k: restated.state[k] for k in moved}, {k: after[k] for k in moved})

    model.load_state_dict(before)
    got = model.encode_decode(images, [dict(img_shape=pixels)] * 2)
    torch.testing.assert_close(got, logits, rtol=1e-10, atol=1e-10)
    assert cfg.model.decode_head.num_classes == got.shape[1] == 150
