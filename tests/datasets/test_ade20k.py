"""Augmentation of the ADE20K recipe against slow restatements, on real pairs.

Pillow, torchvision and loops restate each step; random numbers come from one generator, in the
order in which the pipeline is said to draw them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from PIL import Image
from torchvision.transforms import functional as tv

from vil_mm import CONFIG_DIR
from vil_mm.datasets.replay import SeededIndex

STEMS = ['00000033', '00007396', '00016869', '00016964']


@pytest.fixture(scope='module')
def cfg(test_data: Path) -> Config:
    if not (test_data / 'ade20k_mini').is_dir():
        pytest.skip('no ade20k_mini in VIL_MM_TEST_DATA')
    cfg = Config.fromfile(CONFIG_DIR / 'upernet_vil_t_512x512_ade20k.py')
    cfg.train_dataloader.dataset.data_root = str(test_data / 'ade20k_mini')
    register_all_modules(init_default_scope=True)
    return cfg


def read(cfg: Config, stem: str) -> tuple[Image.Image, np.ndarray]:
    """RGB image, and labels from 0 with 255 where there is none."""
    root = Path(cfg.train_dataloader.dataset.data_root)
    image = Image.open(root / f'images/training/ADE_train_{stem}.jpg').convert('RGB')
    labels = np.array(Image.open(root / f'annotations/training/ADE_train_{stem}.png')).astype(int)
    return image, np.where(labels == 0, 255, labels - 1)


def resize(
    image: Image.Image, labels: np.ndarray, rng: np.random.RandomState
) -> tuple[Image.Image, np.ndarray]:
    ratio = 0.5 + 1.5 * rng.random_sample()
    long, short = int(2048 * ratio), int(512 * ratio)
    width, height = image.size
    scale = min(long / max(image.size), short / min(image.size))
    new_width, new_height = int(width * scale + 0.5), int(height * scale + 0.5)
    size = (new_width, new_height)
    labels = np.array(Image.fromarray(labels.astype(np.uint8)).resize(size, Image.NEAREST))
    return image.resize(size, Image.BICUBIC), labels.astype(int)


def covered(labels: np.ndarray) -> float:
    """Share of the largest class among labelled pixels; 1 where there are none."""
    counts = [(labels == c).sum() for c in range(150)]
    return max(counts) / sum(counts) if sum(counts) else 1.0


def crop(
    image: Image.Image, labels: np.ndarray, rng: np.random.RandomState
) -> tuple[Image.Image, np.ndarray]:
    height, width = labels.shape
    for redraws in range(11):  # the last is taken as it is
        top = rng.randint(0, max(height - 512, 0) + 1)
        left = rng.randint(0, max(width - 512, 0) + 1)
        part = labels[top : top + 512, left : left + 512]
        if redraws < 10 and covered(part) < 0.75:
            break
    return image.crop((left, top, left + part.shape[1], top + part.shape[0])), part


def jitter(image: Image.Image, rng: np.random.RandomState) -> Image.Image:
    order = rng.permutation(4)
    strengths = [rng.uniform(0.5, 1.5) for _ in range(3)] + [rng.uniform(-0.25, 0.25)]
    steps = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
    for i in order:
        image = steps[i](image, strengths[i])
    return image


def normalise(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    return (pixels - mean) / torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


def pad(array: torch.Tensor, value: float) -> torch.Tensor:
    bottom, right = (512 - side for side in array.shape[-2:])
    sides = (right // 2, (right + 1) // 2, bottom // 2, (bottom + 1) // 2)
    return torch.nn.functional.pad(array, sides, value=value)


def restated(cfg: Config, stem: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network gets: image ``(3, 512, 512)`` and labels ``(512, 512)``."""
    rng = np.random.RandomState(seed)
    image, labels = crop(*resize(*read(cfg, stem), rng), rng)
    if rng.random_sample() < 0.5:
        image, labels = tv.hflip(image), labels[:, ::-1].copy()
    image = jitter(image, rng)
    return pad(normalise(image), 0), pad(torch.from_numpy(labels), 255)


@pytest.fixture(scope='module')
def dataset(cfg: Config):
    return DATASETS.build(dict(cfg.train_dataloader.dataset, _scope_='mmseg'))


@pytest.fixture(scope='module')
def preprocessor(cfg: Config) -> SegDataPreProcessor:
    return MODELS.build(cfg.model.data_preprocessor)


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('stem', STEMS)
def test_what_the_network_gets(cfg, dataset, preprocessor, stem, seed):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    index = next(i for i, path in enumerate(paths) if stem in path)
    packed = dataset[SeededIndex(index, seed)]
    batch = {key: [value] for key, value in packed.items()}
    batch = preprocessor(batch, training=True)
    image, labels = restated(cfg, stem, seed)
    assert torch.equal(batch['data_samples'][0].gt_sem_seg.data[0], labels)
    assert batch['inputs'][0].shape == (3, 512, 512)
    torch.testing.assert_close(batch['inputs'][0], image, rtol=0, atol=1e-6)


def build(cfg: Config, kind: str):
    with DefaultScope.overwrite_default_scope('mmseg'):
        entry = next(t for t in cfg.train_pipeline if t.type.endswith(kind))
        return TRANSFORMS.build(dict(entry))


@pytest.mark.parametrize('seed', range(3))
def test_labels_are_those_under_the_centres_of_pixels(cfg, seed):
    """Where a centre falls on the border of two pixels, either will do."""
    labels = read(cfg, '00007396')[1].astype(np.uint8)
    np.random.seed(seed)
    results = dict(img=np.zeros((*labels.shape, 3), np.uint8), gt_seg_map=labels)
    resized = build(cfg, 'RandomResize')(dict(results, seg_fields=['gt_seg_map']))['gt_seg_map']
    pixels, unsure = [], []
    for old, new in zip(labels.shape, resized.shape, strict=True):
        pixels.append([(2 * i + 1) * old // (2 * new) for i in range(new)])
        unsure.append([(2 * i + 1) * old % (2 * new) == 0 for i in range(new)])
    sure = ~(np.array(unsure[0])[:, None] | np.array(unsure[1]))
    assert sure.mean() > 0.85
    assert (resized == labels[pixels[0]][:, pixels[1]])[sure].all()


def test_crops_of_one_class_are_drawn_again(cfg):
    """A half-plane of each of two classes: crops that straddle the border are kept."""
    labels = np.zeros((4, 2048), np.uint8)
    labels[:, 1024:] = 1
    random_crop = build(cfg, 'RandomCrop')
    shares = []
    for seed in range(500):
        np.random.seed(seed)
        results = dict(img=np.zeros((4, 2048, 3), np.uint8), gt_seg_map=labels)
        results['seg_fields'] = ['gt_seg_map']
        shares.append(covered(random_crop(results)['gt_seg_map']))
    # 255 of the 1537 places are below 3/4; eleven draws all miss them with (1282/1537)^11 = 0.14
    bad = np.mean(np.array(shares) >= 0.75)
    assert 0.08 < bad < 0.2


def test_ignored_pixels_count_for_nothing(cfg):
    """One in ten pixels labelled, of two classes 3:1 or 2:1."""
    random_crop = build(cfg, 'RandomCrop')

    def draws(first: int) -> int:
        labels = np.full(512 * 513, 255, np.uint8)
        labels[: first + 10] = [0] * first + [1] * 10
        img = np.zeros((512, 513, 3), np.uint8)
        drawn = []
        draw, np.random.randint = np.random.randint, lambda *args: drawn.append(draw(*args)) or 0
        try:
            random_crop(
                dict(img=img, gt_seg_map=labels.reshape(512, 513), seg_fields=['gt_seg_map'])
            )
        finally:
            np.random.randint = draw
        return len(drawn) // 2

    assert draws(first=30) == 11, '3/4 is too much: once, and ten times again'
    assert draws(first=29) == 1


def test_jitter_draws_all_orders_and_the_whole_range(cfg):
    np.random.seed(0)
    color_jitter = build(cfg, 'ColorJitter')
    drawn = [color_jitter._rand_params() for _ in range(2000)]
    assert len({tuple(order) for order, *_ in drawn}) == 24
    strengths = np.array([rest for _, *rest in drawn])
    low, high = strengths.min(axis=0), strengths.max(axis=0)
    np.testing.assert_allclose(low, [0.5, 0.5, 0.5, -0.25], atol=0.005)
    np.testing.assert_allclose(high, [1.5, 1.5, 1.5, 0.25], atol=0.005)
    assert (low >= [0.5, 0.5, 0.5, -0.25]).all() and (high <= [1.5, 1.5, 1.5, 0.25]).all()


def test_images_are_read_as_stored(cfg, tmp_path):
    """An EXIF tag would turn the image and leave its annotation as it is."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new('L', (40, 20), 99).save(tmp_path / 'grey.jpg', exif=exif)
    image = build(cfg, 'LoadImageFromFile')(dict(img_path=str(tmp_path / 'grey.jpg')))['img']
    assert image.shape == (20, 40, 3) and image.dtype == np.uint8
