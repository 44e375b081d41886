"""Both versions against the authors' outputs, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from safetensors import safe_open
from safetensors.torch import load_file

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
        in_turn = _in_turn(reverse=index == 1)
        keep(f'sub{index}.prenorm', layer.norm)
        for name in ('proj_up', 'proj_down'):
            keep(f'sub{index}.{name}', getattr(layer, name), in_turn)
        (scan,) = layer.scans
        keep(f'sub{index}.conv', scan.conv, in_turn)
        for name in 'qkv':
            keep(f'sub{index}.{name}', getattr(scan, f'{name}_proj'), in_turn)
        keep(f'sub{index}.cell_out', scan.head_norm, in_turn)
        scan.head_norm.register_forward_pre_hook(
            lambda _, args, i=index, change=in_turn: seen.__setitem__(
                f'sub{i}.h', change(args[0]).transpose(1, 2)
            )
        )
    with torch.no_grad():
        seen['logits'] = classifier.head.fc(backbone(x)[0])
        for index, layer in enumerate(layers[:2]):
            q, k, v = (seen[f'sub{index}.{name}'] for name in 'qkv')
            igate, fgate = layer.scans[0].gates(q, k, v)
            seen.update({f'sub{index}.igate_preact': igate, f'sub{index}.fgate_preact': fgate})
    return seen


def _in_turn(reverse: bool):
    """From a map on the grid or on tokens to tokens in the order in which the layer reads them."""

    def change(y: torch.Tensor) -> torch.Tensor:
        tokens = y.flatten(1, 2) if y.shape[1:3] == (4, 5) else y
        return tokens.flip(1) if reverse else tokens

    return change
