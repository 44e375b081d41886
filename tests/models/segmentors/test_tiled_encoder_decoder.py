"""Mode 'tiled' against mode 'slide' of the same weights, and the ways in which users call it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch import nn

WINDOWS = dict(crop_size=(64, 64), stride=(43, 43))


def build(config: Path, mode: str = 'tiled', padding: dict | None = None, **test_cfg) -> nn.Module:
    """A tiny UperNet on ViL whose weights are always the same."""
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(config).model
    cfg.type = 'TiledEncoderDecoder' if mode == 'tiled' else 'EncoderDecoder'
    cfg.test_cfg = ConfigDict(mode=mode, **WINDOWS, **test_cfg)
    cfg.data_preprocessor.test_cfg = padding
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    classifier = model.decode_head.conv_seg
    nn.init.normal_(classifier.weight, std=0.5)
    with torch.no_grad():  # every class is the likeliest somewhere
        logits = model.decode_head(model.extract_feat(torch.randn(1, 3, 128, 128)))
        classifier.bias.copy_(-logits.mean((0, 2, 3)))
    return model


def sample_of(image: torch.Tensor, **meta) -> SegDataSample:
    size = tuple(image.shape[1:])
    return SegDataSample(metainfo=dict(img_shape=size, ori_shape=size) | meta)


CASES = [
    pytest.param((3, 100, 131), {}, None, id='odd size'),
    pytest.param((3, 50, 60), {}, None, id='smaller than the window'),
    pytest.param((3, 64, 64), {}, None, id='one window'),
    pytest.param((3, 64, 200), {}, None, id='a strip'),
    pytest.param((3, 96, 128), dict(ori_shape=(201, 257)), None, id='was shrunk'),
    pytest.param((3, 96, 128), dict(ori_shape=(70, 81)), None, id='was enlarged'),
    pytest.param(
        (3, 96, 100),
        dict(ori_shape=(70, 81), padding_size=(1, 5, 3, 2)),
        None,
        id='was padded',
    ),
    pytest.param(
        (3, 80, 100),
        dict(ori_shape=(120, 111), flip=True, flip_direction='horizontal'),
        None,
        id='was flipped',
    ),
    pytest.param((3, 90, 101), {}, {'size_divisor': 16}, id='padded to whole patches'),
    pytest.param((3, 40, 101), {}, {'size': (130, 130)}, id='padded to a size'),
]


@pytest.mark.parametrize(('shape', 'meta', 'padding'), CASES)
def test_it_predicts_what_slide_predicts(tiny_config, shape, meta, padding) -> None:
    image = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = {}
    for mode in ('slide', 'tiled'):
        model = build(tiny_config, mode, padding)
        data = {'inputs': [image], 'data_samples': [sample_of(image, **meta)]}
        with torch.no_grad():
            (sample,) = model.test_step(data)
        labels[mode] = sample.pred_sem_seg.data
        assert ('seg_logits' in sample) == (mode == 'slide')
    assert labels['tiled'].dtype == torch.uint8
    assert len(labels['slide'].unique()) > 1
    assert labels['tiled'].shape == labels['slide'].shape
    # equal but for pixels of which two classes differ by float rounding
    assert (labels['tiled'] != labels['slide']).float().mean() < 2e-4


@pytest.mark.parametrize('batch_size', [2, 100])
def test_batches_of_windows_and_of_images(tiny_config, batch_size) -> None:
    images = [torch.randint(256, (3, h, 90), dtype=torch.uint8) for h in (70, 130)]
    data = {'inputs': images, 'data_samples': [sample_of(image) for image in images]}
    one = build(tiny_config).val_step(data)
    many = build(tiny_config, batch_size=batch_size).val_step(data)
    for image, a, b in zip(images, one, many, strict=True):
        assert a.pred_sem_seg.data.shape == (1, *image.shape[1:])
        assert (a.pred_sem_seg.data != b.pred_sem_seg.data).float().mean() < 2e-4


def test_prepared_images(tiny_config) -> None:
    model = build(tiny_config)
    image = torch.randint(256, (3, 70, 90), dtype=torch.uint8)
    (expected,) = model.test_step({'inputs': [image]})
    inputs = model.data_preprocessor({'inputs': [image]}, False)['inputs']
    (got,) = model(inputs, None, mode='predict')
    assert torch.equal(got.pred_sem_seg.data, expected.pred_sem_seg.data)


def test_other_modes_and_training_are_mmsegs(tiny_config) -> None:
    model = build(tiny_config)
    model.test_cfg.mode = 'slide'
    image = torch.randint(256, (3, 70, 90), dtype=torch.uint8)
    (sample,) = model.test_step({'inputs': [image], 'data_samples': [sample_of(image)]})
    assert sample.seg_logits.data.shape == (8, 70, 90)


def test_the_image_is_never_normalised_whole(tiny_config, monkeypatch) -> None:
    model, seen = build(tiny_config), []
    forward = type(model.data_preprocessor).forward

    def spy(self, data, training=False):
        seen.append(tuple(data['inputs'][0].shape))
        return forward(self, data, training)

    monkeypatch.setattr(type(model.data_preprocessor), 'forward', spy)
    model.test_step({'inputs': [torch.zeros(3, 200, 150, dtype=torch.uint8)]})
    assert set(seen) == {(3, 64, 64)}


def test_apis_of_mmseg(trained, drawn_data, tmp_path) -> None:
    """A config that names the segmentor works in mmseg's functions, from a path."""
    config = tmp_path / 'tiled.py'
    config.write_text(
        f'_base_ = {str(trained.config)!r}\n'
        "model = dict(type='TiledEncoderDecoder', data_preprocessor=dict("
        "test_cfg=None), test_cfg=dict(_delete_=True, mode='tiled', crop_size=(64, 64), "
        'stride=(43, 43)))\n'
    )
    model = init_model(str(config), str(trained.checkpoint), device='cpu')
    path = sorted((drawn_data / 'images' / 'validation').iterdir())[0]
    image = cv2.imread(str(path))
    labels = inference_model(model, image).pred_sem_seg.data
    assert labels.shape == (1, *image.shape[:2]) and labels.dtype == torch.uint8
    inferencer = MMSegInferencer(
        str(config), str(trained.checkpoint), device='cpu', classes=[str(i) for i in range(8)],
        palette=[[i, i, i] for i in range(8)],
    )  # fmt: skip
    found = inferencer(str(path), out_dir=str(tmp_path / 'out'), return_vis=True, show=False)
    assert np.array_equal(found['predictions'], labels[0].numpy())
    assert found['visualization'].ndim == 3
    (written,) = (tmp_path / 'out' / 'pred').iterdir()
    assert np.array_equal(cv2.imread(str(written), -1), labels[0].numpy())
