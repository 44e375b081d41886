"""Images of one patch or less a side, which a pyramid cannot halve without help."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import nn

from vil_mm.models import VisionLSTM

SIZES = [(1, 1), (12, 12), (16, 16), (17, 5), (5, 17), (1, 300), (300, 2)]
WINDOWS = dict(crop_size=(64, 64), stride=(43, 43))


def build(config: Path, kind: str, mode: str, padding: dict | None = None) -> nn.Module:
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(config).model
    cfg.type, cfg.test_cfg = kind, ConfigDict(mode=mode, **WINDOWS)
    cfg.data_preprocessor.test_cfg = padding
    torch.manual_seed(0)
    return MODELS.build(cfg).eval()


def predict(model: nn.Module, size: tuple[int, int], original: tuple[int, int]) -> SegDataSample:
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=original, img_path='x'))
    with torch.no_grad():
        return model.test_step({'inputs': [image], 'data_samples': [sample]})[0]


@pytest.mark.parametrize('padding', [None, dict(size_divisor=16)], ids=['as it is', 'padded'])
@pytest.mark.parametrize('mode', ['whole', 'slide', 'tiled'])
def test_every_mode_gives_the_size_of_the_image(tiny_config, mode: str, padding) -> None:
    for kind in ('EncoderDecoder', 'TiledEncoderDecoder')[mode == 'tiled' :]:
        model = build(tiny_config, kind, mode, padding)
        for size in SIZES:
            sample = predict(model, size, size)
            assert sample.pred_sem_seg.data.shape[1:] == size
            if mode != 'tiled':
                assert sample.seg_logits.data.isfinite().all()


@pytest.mark.parametrize('kind', ['SegTTAModel', 'SumLogitsTTAModel'])
def test_passes_at_a_quarter_of_the_size(tiny_config, kind: str) -> None:
    model = build(tiny_config, 'EncoderDecoder', 'whole')
    tta = MODELS.build(dict(type=kind, module=model)).eval()
    sizes = [(48, 48), (12, 12)]
    data = {
        'inputs': [[torch.randint(256, (3, *size), dtype=torch.uint8)] for size in sizes],
        'data_samples': [
            [SegDataSample(metainfo=dict(img_shape=size, ori_shape=(48, 48), img_path='x'))]
            for size in sizes
        ],
    }
    with torch.no_grad():
        (sample,) = tta.test_step(data)
    assert sample.pred_sem_seg.data.shape[-2:] == (48, 48)


@pytest.mark.parametrize(
    ('size', 'grid'),
    [((16, 16), (2, 2)), ((12, 33), (2, 3)), ((32, 1), (2, 2)), ((33, 32), (3, 2))],
)
def test_a_single_row_or_column_stands_twice(size, grid) -> None:
    torch.manual_seed(0)
    options = dict(arch=dict(embed_dims=16, num_layers=2), img_size=32)
    model, raw = VisionLSTM(**options).eval(), VisionLSTM(**options, out_type='raw').eval()
    raw.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        (found,), (tokens,) = model(image), raw(image)
    rows, columns = (-(-side // 16) for side in size)
    expected = tokens.mT.unflatten(2, (rows, columns)).expand(-1, -1, *grid)
    assert found.shape == (1, 16, *grid) and torch.equal(found, expected)
