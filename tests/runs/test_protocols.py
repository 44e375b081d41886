"""Evaluation protocols against restatements in plain torch, and the choice of one.

What is restated: windows, resizing, padding, sums and the metric. What is taken from the model:
its network, from normalised image to logits of the same size.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from vil_mm import CONFIG_DIR
from vil_mm.runs.launch import prepare_testing
from vil_mm.runs.protocols import use_protocol
from vil_mm.runs.reading import read_config

ADE20K = str(CONFIG_DIR / 'upernet_vil_t_512x512_ade20k.py')
MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)

# The recipe's config with a small network; windows of {crop} pixels.
SMALL = """
_base_ = {base!r}
work_dir = {work_dir!r}
experiment_name = {name!r}
visualizer = dict(name={name!r})
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, num_layers=8),
        img_size={crop},
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.,
    ),
    neck=dict(embed_dim=16),
    decode_head=dict(in_channels=[16] * 4, channels=8),
    auxiliary_head=dict(in_channels=16, channels=8),
    test_cfg=dict(crop_size=({crop}, {crop}), stride=({stride}, {stride})),
)
protocols = _base_.protocols
protocols['official']['test_pipeline'][1].update(scale=({crop}, {crop}))
protocols['community']['test_pipeline'][1].update(scale=({crop} * 4, {crop}))
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root={data!r}, pipeline=protocols['official']['test_pipeline']),
)
test_dataloader = val_dataloader
"""


class KeepOutputs(Hook):
    """Keep what the model predicts."""

    def __init__(self) -> None:
        self.samples = []

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.samples += outputs


def write_config(folder: Path, data: Path, crop: int, stride: int) -> Path:
    path = folder / 'small.py'
    text = SMALL.format(
        base=ADE20K,
        work_dir=str(folder / 'work'),
        name=f'small_{folder.name}',
        crop=crop,
        stride=stride,
        data=str(data),
    )
    path.write_text(text)
    return path


def write_weights(config: Path) -> str:
    """Seeded weights: every layer shows in the logits, the first classes win most often."""
    cfg = read_config(str(config))
    cfg.model.backbone.init_cfg = None
    model = Runner.from_cfg(cfg).model
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            if name.endswith('running_var'):
                tensor.uniform_(0.5, 2)
            elif tensor.dim() > 1:
                tensor.normal_(std=1.5 / tensor[0].numel() ** 0.5)
            else:
                tensor.add_(0.2 * torch.randn(tensor.shape))
    model.decode_head.conv_seg.weight.data[8:] *= 0.3
    path = config.parent / 'weights.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return str(path)


def run(config: Path, weights: str, **options) -> tuple[nn.Module, list, dict]:
    """As tools/test.py does it: the segmentor, its predicted samples and the metrics."""
    cfg = read_config(str(config))
    prepare_testing(cfg, weights, **options)
    runner = Runner.from_cfg(cfg)
    keep = KeepOutputs()
    runner.register_hook(keep)
    metrics = runner.test()
    return getattr(runner.model, 'module', runner.model), keep.samples, metrics


# the restatement


def starts(length: int, crop: int, stride: int) -> list[int]:
    """Windows every ``stride`` pixels, the last shifted inward."""
    places = list(range(0, max(length - crop, 0), stride)) + [max(length - crop, 0)]
    return sorted(set(places))


def network(model: nn.Module, images: Tensor) -> Tensor:
    """``(1, 3, h, w)`` to logits ``(1, 150, h, w)``."""
    logits = model.decode_head(model.neck(model.backbone(images)))
    return F.interpolate(logits, size=images.shape[2:], mode='bilinear', align_corners=False)


def slide(model: nn.Module, image: Tensor, size: tuple[int, int], crop: int, stride: int) -> Tensor:
    """Logits of an image ``(1, 3, h, w)``, resized to ``size``; average of windows."""
    height, width = image.shape[2:]
    image = F.pad(image, (0, max(crop - width, 0), 0, max(crop - height, 0)))
    total, count = torch.zeros(1, 150, *image.shape[2:]), torch.zeros(image.shape[2:])
    for y in starts(image.shape[2], crop, stride):
        for x in starts(image.shape[3], crop, stride):
            window = (..., slice(y, y + crop), slice(x, x + crop))
            total[window] += network(model, image[window])
            count[window] += 1
    logits = (total / count)[:, :, :height, :width]
    return F.interpolate(logits, size=size, mode='bilinear', align_corners=False)


def bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """In float64: torch's own float32 is off by 1e-4, which the network makes 4e-4 of logits."""
    image = image.double()
    return F.interpolate(image, size, mode='bicubic', align_corners=False, antialias=False).float()


def rounded(length: int, scale: float) -> int:
    return int(length * scale + 0.5)


def official(model: nn.Module, path: str, crop: int, stride: int, tta: bool) -> Tensor:
    """Logits ``(150, H, W)`` of section 8.6 of the specification."""
    pixels = np.array(Image.open(path).convert('RGB'))
    image = ((torch.from_numpy(pixels).permute(2, 0, 1) - MEAN) / STD)[None]
    size = image.shape[2:]
    if not tta:
        logits = network(model, bicubic(image, (crop, crop)))
        return F.interpolate(logits, size=size, mode='bilinear', align_corners=False)[0]
    total = torch.zeros(1, 150, *size)
    for scale in (0.75, 1.0, 1.25, 1.5, 1.75):
        resized = bicubic(image, (rounded(size[0], scale), rounded(size[1], scale)))
        total += slide(model, resized, size, crop, stride)
        total += slide(model, resized.flip(3), size, crop, stride).flip(3)
    return total[0]


def community(model: nn.Module, path: str, crop: int, stride: int, tta: bool) -> Tensor:
    """Logits or, of ``tta``, averaged probabilities ``(150, H, W)``."""
    image = cv2.imread(path)
    size = image.shape[:2]

    def passes() -> Iterator[tuple[np.ndarray, bool]]:
        shrink = min(crop / min(size), 4 * crop / max(size))
        for scale in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75) if tta else (shrink,):
            shape = (rounded(size[1], scale), rounded(size[0], scale))
            resized = cv2.resize(image, shape, interpolation=cv2.INTER_LINEAR)
            yield from ((resized, False), (resized[:, ::-1], True))[: 1 + tta]

    total = torch.zeros(1, 150, *size)
    for pixels, flipped in passes():
        tensor = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)
        logits = slide(model, ((tensor - MEAN) / STD)[None], size, crop, stride)
        logits = logits.flip(3) if flipped else logits
        total += logits.softmax(1) / 12 if tta else logits
    return total[0]


def mean_iou(predictions: list[np.ndarray], labels: list[np.ndarray]) -> float:
    """Percent, over the classes that occur; labels count from 1, 0 is ignored."""
    scores = []
    for c in range(150):
        intersection = union = 0
        for predicted, label in zip(predictions, labels, strict=True):
            here, there = (predicted == c) & (label != 0), label == c + 1
            intersection += (here & there).sum()
            union += (here | there).sum()
        if union:
            scores.append(intersection / union)
    return 100 * sum(scores) / len(scores)


def check(config: Path, weights: str, crop: int, stride: int, protocol: str, tta: bool) -> None:
    model, samples, metrics = run(config, weights, protocol=protocol, tta=tta)
    restate = dict(official=official, community=community)[protocol]
    predictions, labels = [], []
    assert len(samples) == 3
    for sample in samples:
        with torch.no_grad():
            by_hand = restate(model, sample.img_path, crop, stride, tta)
        if not (tta and protocol == 'community'):  # mmseg keeps no averaged probabilities
            error = (sample.seg_logits.data - by_hand).abs() / by_hand.abs().max()
            assert error.mean() < 2e-6
            assert error.max() < 5e-4, 'these weights make much of the last bits of a pixel'
        predictions.append(by_hand.argmax(0).numpy())
        differing = (sample.pred_sem_seg.data[0].numpy() != predictions[-1]).mean()
        assert differing < 1e-3, 'ties only'
        assert len(np.unique(predictions[-1])) > 1, 'a picture that shows mistakes'
        labels.append(np.array(Image.open(sample.seg_map_path)))
    name = protocol + ('_tta' if tta else '')
    assert metrics[f'{name}/mIoU'] == pytest.approx(mean_iou(predictions, labels), abs=0.02)
    assert metrics[f'{name}/mIoU'] > 0


@pytest.fixture(scope='module')
def small(drawn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Windows of 64 pixels on pictures of 64 to 100."""
    config = write_config(tmp_path_factory.mktemp('small'), drawn_data, crop=64, stride=43)
    return config, write_weights(config)


@pytest.fixture(scope='module')
def full(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Windows of 512 pixels on real pairs."""
    if not (test_data / 'ade20k_mini').is_dir():
        pytest.skip('no ade20k_mini in VIL_MM_TEST_DATA')
    folder = tmp_path_factory.mktemp('full')
    config = write_config(folder, test_data / 'ade20k_mini', crop=512, stride=341)
    return config, write_weights(config)


@pytest.mark.parametrize(
    ('protocol', 'tta'),
    [
        ('official', False),
        ('official', True),
        ('community', False),
        pytest.param('community', True, marks=pytest.mark.slow),
    ],
)
def test_small_windows(small, protocol, tta):
    check(*small, 64, 43, protocol, tta)


def test_real_pairs_squashed(full):
    check(*full, 512, 341, 'official', tta=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('protocol', 'tta'), [('official', True), ('community', False), ('community', True)]
)
def test_real_pairs_in_windows(full, protocol, tta):
    check(*full, 512, 341, protocol, tta)


# the choice


@pytest.fixture
def cfg(small) -> Config:
    return read_config(str(small[0]))


def test_official_is_the_default(cfg):
    use_protocol(cfg)
    assert cfg.test_dataloader.dataset.pipeline == cfg.protocols.official.test_pipeline
    assert cfg.tta_pipeline == cfg.protocols.official.tta_pipeline
    assert cfg.tta_model == dict(type='SumLogitsTTAModel')
    assert cfg.test_evaluator.prefix == 'official'
    assert 'prefix' not in cfg.val_evaluator, 'training keeps the best mIoU under its own name'
    assert cfg.model.data_preprocessor.test_cfg == dict(size=(64, 64))


def test_another_protocol(cfg):
    cfg.test_evaluator = [cfg.test_evaluator, dict(type='IoUMetric', iou_metrics=['mDice'])]
    cfg.model.test_cfg = dict(mode='whole')
    use_protocol(cfg, 'community', tta=True)
    assert cfg.test_dataloader.dataset.pipeline == cfg.protocols.community.test_pipeline
    assert cfg.tta_pipeline == cfg.protocols.community.tta_pipeline
    assert cfg.tta_model == dict(type='SegTTAModel')
    assert [metric.prefix for metric in cfg.test_evaluator] == ['community_tta'] * 2
    assert 'test_cfg' not in cfg.model.data_preprocessor, 'no windows, no padding to their size'


def test_unknown_protocol(cfg):
    with pytest.raises(ValueError, match="protocol='mmseg': the config has only official, comm"):
        use_protocol(cfg, 'mmseg')
    del cfg.protocols['official']
    with pytest.raises(ValueError, match="protocol='official': the config has only community"):
        use_protocol(cfg)


def test_configs_without_protocols_keep_their_pipeline(tiny_config):
    cfg = read_config(str(tiny_config))
    before = cfg.to_dict()
    use_protocol(cfg)
    assert cfg.to_dict() == before
    with pytest.raises(ValueError, match="protocol='official': the config has no protocols"):
        use_protocol(cfg, 'official')


def test_overrides_reach_the_protocol_or_are_refused(small):
    own = {'protocols.community.test_pipeline.1.scale': (256, 32)}
    cfg = read_config(str(small[0]), options=own)
    use_protocol(cfg, 'community')
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (256, 32)
    lost = {'test_dataloader.dataset.pipeline.1.scale': (32, 32)}
    cfg = read_config(str(small[0]), options=lost)
    with pytest.raises(ValueError, match=r'change protocols\.<name>\.test_pipeline instead'):
        use_protocol(cfg)
    cfg.protocols = None
    use_protocol(cfg)
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (32, 32)


def test_own_settings_of_a_config_are_not_replaced_without_a_word(small, tmp_path):
    config = tmp_path / 'own.py'
    base = f'_base_ = {str(small[0])!r}\n'
    config.write_text(base + "pipeline = [dict(type='LoadImageFromFile')]\n"
        'val_dataloader = dict(dataset=dict(pipeline=pipeline))\ntest_dataloader = val_dataloader\n'
    )  # fmt: skip
    with pytest.raises(ValueError, match='is not that of a protocol'):
        use_protocol(read_config(str(config)))
    config.write_text(base + "tta_model = dict(type='SegTTAModel')\n")
    with pytest.raises(ValueError, match=r'set protocols\.<name>\.tta_model instead'):
        use_protocol(read_config(str(config)))
    config.write_text(base + 'model = dict(data_preprocessor=dict(test_cfg=dict(size_divisor=32)))')
    cfg = read_config(str(config))
    use_protocol(cfg)
    assert cfg.model.data_preprocessor.test_cfg == dict(size_divisor=32)


def test_tiled_inference_has_no_logits_to_add(small):
    cfg = read_config(str(small[0]))
    cfg.model.test_cfg.mode = 'tiled'
    with pytest.raises(ValueError, match=r"tta=True: adds up the logits.*use mode='slide'"):
        prepare_testing(cfg, small[1], tta=True)
    prepare_testing(read_config(str(small[0])), small[1], tta=True)
