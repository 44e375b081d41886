"""Peers of ViL: that they differ from ViL's configs by the backbone alone, build and train."""

from __future__ import annotations

from pathlib import Path

import mmpretrain.models
import mmseg.models
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.runs.checks import check_pretrained

assert mmpretrain.models and mmseg.models  # register what the configs name

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# name: config of ViL that it is measured against, parameters without the auxiliary head
PEERS = {
    'deit3_s': ('vil_s', 40_787_478),
    'deit3_b': ('vil_b', 112_916_118),
    'convnext_b': ('vil_b', 107_689_238),
    'swin_b': ('vil_b', 106_865_998),
}
SHORT = {'deit_t': 6_547_531, 'swin_t': 28_610_437}
SAME = (
    'param_scheduler',
    'train_dataloader',
    'val_dataloader',
    'test_dataloader',
    'train_cfg',
    'custom_hooks',
    'default_hooks',
    'env_cfg',
)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / 'baselines' / f'upernet_{name}_512x512_ade20k.py')


def differ_by_backbone(peer: Config, ours: Config) -> None:
    for key in SAME:
        assert peer[key] == ours[key], key
    for key in ('decode_head', 'auxiliary_head'):
        mine, theirs = (dict(cfg.model[key]) for cfg in (ours, peer))
        assert mine.pop('in_channels') and theirs.pop('in_channels')
        assert mine == theirs, key
    assert peer.model.data_preprocessor == ours.model.data_preprocessor
    mine, theirs = (cfg.optim_wrapper.to_dict() for cfg in (ours, peer))
    assert mine.get('paramwise_cfg', {}).pop('custom_keys', None) is not None
    theirs['paramwise_cfg'].pop('custom_keys')
    for options in (mine, theirs):  # the whole of the decay is compared where models are built
        options['paramwise_cfg'].pop('layer_decay_rate', None)
    assert mine == theirs


@pytest.mark.parametrize('name', PEERS)
def test_same_recipe(name):
    peer, ours = (
        read(name),
        Config.fromfile(CONFIGS / f'upernet_{PEERS[name][0]}_512x512_ade20k.py'),
    )
    differ_by_backbone(peer, ours)
    assert peer.model.backbone.drop_path_rate == ours.model.backbone.drop_path_rate
    assert (peer.model.neck is None) == (name in ('convnext_b', 'swin_b'))


@pytest.mark.parametrize('name', SHORT)
def test_same_recipe_of_the_short_runs(name):
    ours = Config.fromfile(CONFIGS / 'baselines/upernet_vil_t_camvid_short.py')
    peer = Config.fromfile(CONFIGS / f'baselines/upernet_{name}_camvid_short.py')
    differ_by_backbone(peer, ours)
    model = MODELS.build(peer.model)
    assert count(model) == SHORT[name]


def count(model: torch.nn.Module) -> int:
    """Parameters without the auxiliary head."""
    whole, auxiliary = (
        sum(p.numel() for p in m.parameters()) for m in (model, model.auxiliary_head)
    )
    return whole - auxiliary


@pytest.mark.parametrize(
    'name', [pytest.param(n, marks=() if n == 'deit3_s' else pytest.mark.slow) for n in PEERS]
)
def test_two_steps_of_training(name):
    cfg = read(name)
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor.size = (64, 64)  # to which it would pad
    model = MODELS.build(cfg.model).train()
    assert count(model) == PEERS[name][1]
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = {group['lr'] for group in wrapper.optimizer.param_groups}
    assert min(rates) == pytest.approx(5e-4 * 0.65**13, rel=1e-6) and max(rates) == 5e-4
    before = {name: value.clone() for name, value in model.named_parameters()}
    for _ in range(2):
        model.train_step(batch(), wrapper)
    still = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert not still


def batch(size: int = 64) -> dict:
    samples = []
    for seed in range(2):
        random = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 150, (1, size, size), generator=random)
        sample = SegDataSample(metainfo={'img_shape': (size, size)})
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return {'inputs': [torch.rand(3, size, size) * 255 for _ in samples], 'data_samples': samples}


@pytest.fixture
def small() -> Config:
    """A DeiT-III that takes a moment to build, and where its weights come from."""
    arch = {'embed_dims': 16, 'num_layers': 2, 'num_heads': 2, 'feedforward_channels': 32}
    model = read('deit3_s').model
    model.backbone.update(arch=arch, img_size=64, out_indices=(0, 1))
    return model


def save(model: Config, path: Path, prefix: str = 'backbone.', **changed) -> None:
    backbone = model.backbone.to_dict() | changed | {'init_cfg': None}
    state = MODELS.build(backbone).state_dict()
    torch.save({'state_dict': {prefix + key: value for key, value in state.items()}}, path)
    model.backbone.init_cfg.checkpoint = str(path)


def test_weights_that_fit(small, tmp_path):
    save(small, tmp_path / 'fits.pth', img_size=32, final_norm=True)  # embedding is resized
    check_pretrained(small)
    backbone = MODELS.build(small.backbone)
    backbone.init_weights()
    stored = torch.load(tmp_path / 'fits.pth')['state_dict']
    name = 'layers.1.attn.qkv.weight'
    assert torch.equal(backbone.state_dict()[name], stored[f'backbone.{name}'])


def test_weights_of_another_size_are_refused(small, tmp_path):
    wide = {'embed_dims': 32, 'num_layers': 2, 'num_heads': 2, 'feedforward_channels': 32}
    save(small, tmp_path / 'wide.pth', arch=wide)
    with pytest.raises(CheckpointError, match=r'wide\.pth does not match TwoNormDeiT3: \d+ of'):
        check_pretrained(small)


def test_weights_under_other_names_are_refused(small, tmp_path):
    save(small, tmp_path / 'bare.pth', prefix='')
    with pytest.raises(CheckpointError, match=r'searched under backbone\.:'):
        check_pretrained(small)


def test_absent_weights(small):
    with pytest.raises(FileNotFoundError, match=r'docs/peers\.md.*init_cfg=None'):
        check_pretrained(small)
