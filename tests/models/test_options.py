"""Options of the backbone: what is refused, and numbers of other kinds that are taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import build


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'arch': 'huge'}, "arch='huge'.*tiny"),
        ({'arch': {'embed_dims': 16}}, 'exactly embed_dims and num_layers'),
        ({'arch': {'embed_dims': 18, 'num_layers': 2}}, 'divisible by 4'),
        ({'version': 3}, 'version=3'),
        ({'out_type': 'cls_token'}, "out_type='cls_token'"),
        ({'traversal': 'spiral'}, "traversal='spiral'"),
        ({'out_type': 'middle_cls'}, 'needs version=1'),
        (
            {'out_type': 'middle_cls', 'version': 1, 'traversal': 'quad'},
            "scans by rows, got version=1, traversal='quad'",
        ),
        ({'mlstm_backend': 'fastest'}, "mlstm_backend='fastest'"),
        ({'out_indices': 4}, 'below 4'),
        ({'out_indices': (2, 1)}, 'ascending'),
        ({'out_indices': ()}, 'ascending'),
        ({'frozen_stages': 5}, r'\[-1, 4\]'),
        ({'img_size': 30}, 'multiple of the patch size'),
        ({'img_size': 0}, 'multiple of the patch size'),
        ({'stride': 0}, 'stride=0, expected a whole number of at least 1'),
        ({'version': True}, 'version=True'),
        ({'drop_path_rate': 1.5}, 'drop_path_rate=1.5, a drop path rate'),
        ({'drop_path_rate': '0.1'}, "drop_path_rate='0.1'"),
        ({'drop_path_rate': np.array([0.1, 0.2])}, 'drop_path_rate=array'),
        ({'patch_size': (8, 4)}, r'patch_size=\(8, 4\), expected one number or two equal'),
        ({'patch_size': 8.0}, r'patch_size=8\.0, expected a whole number'),
        ({'patch_size': '8'}, "patch_size='8'"),
        ({'stride': (4, 8)}, r'stride=\(4, 8\)'),
        ({'in_channels': 0}, 'in_channels=0'),
        ({'in_channels': (3, 4)}, r'in_channels=\(3, 4\)'),
        ({'img_size': (32, 32, 32)}, r'img_size=\(32, 32, 32\), expected a side'),
        ({'img_size': 32.0}, r'img_size=32\.0'),
        ({'img_size': '32'}, "img_size='32'"),
        ({'img_size': None}, 'img_size=None'),
        ({'frozen_stages': 'all'}, "frozen_stages='all'"),
        ({'frozen_stages': -2}, 'frozen_stages=-2'),
        ({'out_indices': 'last'}, 'ascending'),
        ({'out_indices': (0, 1.0)}, 'ascending'),
        ({'out_indices': None}, 'ascending'),
        ({'arch': None}, 'arch=None'),
        ({'arch': ('tiny',)}, r"arch=\('tiny',\)"),
        ({'arch': dict(embed_dims='16', num_layers=8)}, 'divisible by 4 .* got 16'),
        ({'traversal': ['quad']}, r"traversal=\['quad'\]"),
        ({'final_norm': 'False'}, "final_norm='False', expected True or False"),
        ({'with_cp': None}, 'with_cp=None'),
        ({'drop_path_decay': 2}, 'drop_path_decay=2'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_values(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(**options)


@pytest.mark.parametrize(
    ('given', 'meant'),
    [
        ({'img_size': np.int64(64)}, {'img_size': 64}),
        ({'img_size': np.array([32, 64])}, {'img_size': (32, 64)}),
        ({'img_size': torch.zeros(32, 64).shape}, {'img_size': (32, 64)}),
        ({'img_size': [64]}, {'img_size': 64}),
        ({'patch_size': (16, 16)}, {'patch_size': 16}),
        ({'patch_size': np.uint8(16)}, {'patch_size': 16}),
        ({'stride': np.array([4, 4])}, {'stride': 4}),
        ({'in_channels': np.int32(4)}, {'in_channels': 4}),
        ({'out_indices': np.int64(2)}, {'out_indices': 2}),
        ({'out_indices': np.array([0, -1])}, {'out_indices': (0, 3)}),
        ({'out_indices': range(4)}, {'out_indices': (0, 1, 2, 3)}),
        ({'out_indices': torch.tensor([1, 3])}, {'out_indices': (1, 3)}),
        ({'frozen_stages': np.int64(1)}, {'frozen_stages': 1}),
        ({'drop_path_rate': np.float32(0.5)}, {'drop_path_rate': 0.5}),
        ({'with_cp': np.bool_(True), 'final_norm': 0}, {'with_cp': True, 'final_norm': False}),
        ({'version': np.int64(1)}, {'version': 1}),
        ({'arch': dict(embed_dims=np.int64(16), num_layers=np.int64(8))}, {}),
    ],
    ids=str,
)
def test_numbers_of_other_kinds(given: dict, meant: dict) -> None:
    model, expected = build(**given), build(**meant)
    assert str(model) == str(expected) and model.out_indices == expected.out_indices
    assert model.get_layer_depth('norm.weight') == expected.get_layer_depth('norm.weight')
    for x, y in zip(model.parameters(), expected.parameters(), strict=True):
        assert x.requires_grad == y.requires_grad
        torch.testing.assert_close(x, y)


def test_misspelt_option() -> None:
    with pytest.raises(TypeError, match='drop_path'):
        build(drop_path=0.1)
