"""Both versions against the authors' outputs, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from vil_mm.checkpoints import from_official

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-6}
CASES = ['a_v2_classifier', 'c_v1_classifier']
POOLINGS = {'bilateral_flatten': 'bilateral_concat', 'bilateral_avg': 'bilateral_avg'}


def build(file: Path) -> torch.nn.Module:
    """The classifier that the golden file's header describes."""
    with safe_open(file, 'pt') as header:
        config = json.loads(header.metadata()['config'])
    version = int(config['cls'].removeprefix('v'))
    out_type = POOLINGS[config['pooling']]
    width = config['dim'] * (2 if out_type == 'bilateral_concat' else 1)
    backbone = dict(
        type='VisionLSTM',
        arch=dict(embed_dims=config['dim'], num_layers=config['depth'] * version),
        version=version,
        img_size=tuple(config['input_shape'][1:]),
        patch_size=config['patch_size'],
        out_type=out_type,
    )
    head = dict(type='LinearClsHead', num_classes=config['output_shape'][0], in_channels=width)
    return MODELS.build(dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head))


def read(file: Path, prefix: str) -> dict[str, torch.Tensor]:
    stored = load_file(file)
    return {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}


def assert_close(got: torch.Tensor, want: torch.Tensor, tolerance: float, name: str) -> None:
    assert got.shape == want.shape, name
    error = ((got - want).abs().max() / want.abs().max()).item()
    assert error < tolerance, f'{name}: {error:.1e}'


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('name', CASES)
def test_stage_by_stage(golden, name: str, dtype: torch.dtype) -> None:
    file = golden / f'{name}.safetensors'
    classifier = build(file).eval()
    classifier.load_state_dict(from_official(read(file, 'sd.')))
    got = record_stages(classifier.to(dtype), load_file(file)['x'].to(dtype))
    expected = read(file, 'out.')
    assert got.keys() == expected.keys()
    for stage, want in expected.items():
        assert_close(got[stage], want, TOLERANCE[dtype], stage)


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('name', CASES)
def test_published_names(golden, name: str, dtype: torch.dtype) -> None:
    file = golden / f'{name}_rawkeys.safetensors'
    stored = load_file(file)
    classifier = build(file).eval()
    classifier.load_state_dict(from_official(read(file, 'state_dict/')))
    with torch.no_grad():
        logits = classifier.to(dtype)(stored['x'].to(dtype))
    assert_close(logits, stored['out.logits'], TOLERANCE[dtype], 'logits')


def record_stages(classifier: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Everything that the golden file holds, under its names and in its order of tokens."""
    backbone, seen = classifier.backbone, {}
    layers = [layer for block in backbone.blocks for layer in block.layers]

    def keep(name: str, module: torch.nn.Module, change=lambda y: y) -> None:
        module.register_forward_hook(lambda _, __, out: seen.__setitem__(name, change(out)))

    norms = ('norm', 'legacy_norm') if backbone.version == 2 else ('legacy_norm', 'norm')
    keep('patch_embed', backbone.patch_embed)
    keep('tokens_embedded', backbone.pos_embed, lambda y: y.flatten(1, 2))
    keep(norms[0], backbone.norm)
    keep(norms[1], backbone.pool_norm)
    for index, layer in enumerate(layers):
        keep(f'subblock.{index}', layer)
    for index, layer in enumerate(layers[:2]):
        keep(f'sub{index}.prenorm', layer.norm)
        for name in ('proj_up', 'proj_down'):
            keep(f'sub{index}.{name}', getattr(layer, name), _in_turn(reverse=index == 1))
    for index, layer in enumerate(layers[:2]):
        watch_scan(layer.scans[0], f'sub{index}', keep, _in_turn(reverse=index == 1))
    with torch.no_grad():
        seen['logits'] = classifier.head.fc(backbone(x)[0])
    return seen


def watch_scan(scan, name: str, keep, in_turn) -> None:
    """Keep what each module of a scan gives, and h, which the head norm is given."""
    keep(f'{name}.conv', scan.conv, lambda y: in_turn(y.permute(0, 2, 3, 1)))
    for letter in 'qkv':
        keep(f'{name}.{letter}', getattr(scan, f'{letter}_proj'), in_turn)
    for gate in ('igate', 'fgate'):
        keep(f'{name}.{gate}_preact', getattr(scan, gate), in_turn)
    keep(f'{name}.cell_out', scan.head_norm, in_turn)
    h = nn.Identity()
    keep(f'{name}.h', h, lambda y: in_turn(y).transpose(1, 2))
    scan.head_norm.register_forward_pre_hook(lambda _, inputs: (h(inputs[0]),))


def _in_turn(reverse: bool):
    """From a map on the grid or on tokens to tokens in the order in which the layer reads them."""

    def change(y: torch.Tensor) -> torch.Tensor:
        tokens = y.flatten(1, 2) if y.shape[1:3] == (4, 5) else y
        return tokens.flip(1) if reverse else tokens

    return change
