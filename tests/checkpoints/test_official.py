from __future__ import annotations

import re

import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import load_file

from vil_mm.checkpoints import from_official, is_official, to_official


@pytest.fixture
def official(golden) -> dict[str, torch.Tensor]:
    stored = load_file(golden / 'a_v2_classifier.safetensors')
    return {key.removeprefix('sd.'): value for key, value in stored.items() if key[:3] == 'sd.'}


@pytest.fixture
def classifier() -> torch.nn.Module:
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(
                type='VisionLSTM',
                arch=dict(embed_dims=32, num_layers=4),
                img_size=(16, 20),
                patch_size=4,
                out_type='bilateral_concat',
            ),
            head=dict(type='LinearClsHead', num_classes=7, in_channels=64),
        )
    ).eval()


@pytest.mark.parametrize('outer', [False, True], ids=['bare', 'under state_dict'])
def test_gives_exactly_the_keys_of_a_classifier(official, classifier, outer: bool) -> None:
    before = dict(official)
    ours = from_official({'state_dict': official} if outer else official)
    assert set(ours) == set(classifier.state_dict())
    assert official == before
    classifier.load_state_dict(ours)


def test_without_head(official) -> None:
    bare = {k: v for k, v in official.items() if not k.startswith(('head.', 'legacy_norm.'))}
    ours = from_official(bare)
    assert len(ours) == len(bare)
    assert all(key.startswith('backbone.') for key in ours)


def test_round_trip(official) -> None:
    back = to_official(from_official(official))
    assert back.keys() == official.keys()
    assert all(back[key] is official[key] for key in back)


def test_left_over_and_missing_are_both_named(official) -> None:
    del official['blocks.1.rowwise_from_bot_right.layer.learnable_skip']
    official['blocks.0.extra'] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        from_official(official)
    assert 'blocks.0.extra' in str(error.value)
    assert 'blocks.1.rowwise_from_bot_right.layer.learnable_skip' in str(error.value)


def test_layouts_are_told_apart(official) -> None:
    assert is_official(official)
    assert not is_official(from_official(official))
    with pytest.raises(ValueError, match='left over'):
        from_official(from_official(official))
    with pytest.raises(ValueError, match='left over'):
        to_official(official)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_golden_classifier_stage_by_stage(official, classifier, golden, dtype: torch.dtype) -> None:
    stored = load_file(golden / 'a_v2_classifier.safetensors')
    classifier.load_state_dict(from_official(official))
    classifier.to(dtype)
    got = record_stages(classifier, stored['x'].to(dtype))
    expected = {key.removeprefix('out.'): v for key, v in stored.items() if key[:4] == 'out.'}
    assert got.keys() == expected.keys()
    tolerance = 2e-5 if dtype == torch.float32 else 1e-6
    for name, want in expected.items():
        error = (got[name] - want).abs().max() / want.abs().max()
        assert error < tolerance, f'{name}: {error:.1e}'


def record_stages(classifier: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Everything that the golden file holds, under its names and in its order of tokens."""
    backbone, seen = classifier.backbone, {}
    layers = [layer for block in backbone.blocks for layer in block.layers]

    def keep(name: str, module: torch.nn.Module, change=lambda y: y) -> None:
        module.register_forward_hook(lambda _, __, out: seen.__setitem__(name, change(out)))

    keep('patch_embed', backbone.patch_embed)
    keep('tokens_embedded', backbone.pos_embed, lambda y: y.flatten(1, 2))
    keep('norm', backbone.norm)
    keep('legacy_norm', backbone.pool_norm)
    for index, layer in enumerate(layers):
        keep(f'subblock.{index}', layer)
    for index, layer in enumerate(layers[:2]):
        turn = (lambda y: y.flip(1)) if index else (lambda y: y)
        keep(f'sub{index}.prenorm', layer.norm)
        for name in ('proj_up', 'conv', 'proj_down'):
            keep(f'sub{index}.{name}', getattr(layer, name), turn)
        for name in 'qkv':
            keep(f'sub{index}.{name}', getattr(layer, f'{name}_proj'), turn)
        keep(f'sub{index}.cell_out', layer.head_norm, turn)
        layer.head_norm.register_forward_pre_hook(
            lambda _, args, i=index, t=turn: seen.__setitem__(
                f'sub{i}.h', t(args[0]).transpose(1, 2)
            )
        )
    with torch.no_grad():
        seen['logits'] = classifier.head.fc(backbone(x)[0])
        for index, layer in enumerate(layers[:2]):
            q, k, v = (seen[f'sub{index}.{name}'] for name in 'qkv')
            igate, fgate = layer.gates(q, k, v)
            seen.update({f'sub{index}.igate_preact': igate, f'sub{index}.fgate_preact': fgate})
    return seen


def test_messages_stay_readable(official) -> None:
    with pytest.raises(ValueError) as error:
        from_official({'blocks.0.norm.weight': torch.zeros(1)})
    assert re.search(r"left over \['blocks.0.norm.weight'\], missing \[", str(error.value))
