"""Shapes by description are those of the model that a description is of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vil_mm.checkpoints import describe
from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.checkpoints.shapes import check_shapes, list_shapes
from vil_mm.models import VisionLSTM


def classifier(classes: int = 5, **options) -> nn.Module:
    model = nn.Module()
    with torch.device('meta'):
        model.backbone = VisionLSTM(**{'img_size': (32, 48), **options})
        model.head = nn.Module()
        width = 2 if options.get('out_type') == 'bilateral_concat' else 1
        model.head.fc = nn.Linear(width * model.backbone.embed_dims, classes)
    return model


@pytest.mark.parametrize(
    'options',
    [
        dict(arch='tiny'),
        dict(arch=dict(embed_dims=16, num_layers=5), version=1, patch_size=8, in_channels=5),
        dict(arch=dict(embed_dims=16, num_layers=4), version=1, traversal='quad'),
        dict(arch=dict(embed_dims=16, num_layers=4), traversal='bidirectional'),
        dict(arch=dict(embed_dims=16, num_layers=4), version=1, out_type='middle_cls'),
        dict(arch=dict(embed_dims=16, num_layers=4), out_type='bilateral_concat'),
        dict(arch=dict(embed_dims=16, num_layers=4), out_type='bilateral_avg'),
    ],
    ids=str,
)
def test_shapes_of_every_design(options: dict) -> None:
    state = classifier(**options).state_dict()
    expected = list_shapes(describe(state))
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        key: expected[key] for key in state
    }


def test_a_size_that_no_backbone_has() -> None:
    description = describe(classifier(arch=dict(embed_dims=16, num_layers=4)).state_dict())
    odd = type(description)(**{**vars(description), 'embed_dims': 18})
    with pytest.raises(CheckpointError, match='holds a ViL that cannot be built: 18 channels'):
        check_shapes({'x': torch.zeros(1)}, odd, 'file.pth')
