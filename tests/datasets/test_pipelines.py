"""The pipelines of the ImageNet configs, step by step against Pillow and torchvision."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import TRANSFORMS
from mmpretrain.utils import register_all_modules
from PIL import Image, ImageFilter
from torchvision import transforms
from torchvision.transforms import functional
from torchvision.transforms.functional import InterpolationMode

import vil_mm
from vil_mm.datasets import ReplayableInfiniteSampler
from vil_mm.datasets.replay import SeededIndex, seed_everything

TRAINED = {'imagenet_192': 192, 'imagenet_224': 224, 'imagenet100_128': 128, 'imagenette': 64}
# config -> short side, crop
EVALUATED = {name: (size, size) for name, size in TRAINED.items()} | {
    'imagenet_a': (224, 224),
    'imagenet_r': (224, 224),
    'imagenet_sketch': (224, 224),
    'imagenet_c': (256, 224),
}
BICUBIC = InterpolationMode.BICUBIC
LOAD = dict(
    type='LoadImageFromFile',
    imdecode_backend='pillow',
    color_type='color_ignore_orientation',
)


@pytest.fixture(autouse=True)
def scope() -> None:
    register_all_modules(init_default_scope=False)
    init_default_scope('mmpretrain')


@pytest.fixture(scope='module')
def photographs(test_data: Path) -> list[Path]:
    """Twenty photographs of ten classes, wide and tall, and every grey one of the training set."""
    root = test_data / 'imagenette_mini'
    files = [sorted(folder.iterdir())[k] for folder in sorted(root.glob('val/*')) for k in (0, 9)]
    return files + [file for file in sorted(root.glob('train/*/*')) if is_grey(file)]


@pytest.fixture(scope='module')
def noise(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Blurred noise of odd sizes, larger and smaller than the crops, one of them grey."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp('noise')
    files = []
    for width, height in ((331, 224), (97, 340), (64, 51), (500, 333)):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2))
        image = image.convert('L') if width == 97 else image
        files.append(folder / f'{width}x{height}.JPEG')
        image.save(files[-1])
    return files


@pytest.fixture(params=['noise', 'photographs'])
def files(request: pytest.FixtureRequest) -> list[Path]:
    return request.getfixturevalue(request.param)


def is_grey(file: Path) -> bool:
    with Image.open(file) as image:
        return image.mode == 'L'


def load(file: Path) -> Image.Image:
    """As torchvision's ImageFolder does."""
    return Image.open(file).convert('RGB')


def config(name: str) -> Config:
    return Config.fromfile(vil_mm.CONFIG_DIR / '_base_' / 'datasets' / f'{name}.py')


def difference(results: dict, image: Image.Image) -> int:
    """The largest difference in grey levels."""
    ours, theirs = results['img'][..., ::-1].astype(int), np.asarray(image).astype(int)
    assert ours.shape == theirs.shape
    return int(abs(ours - theirs).max())


def random_resized_crop(step, image: Image.Image, results: dict) -> Image.Image:
    top, left, height, width = step.rand_crop_params(np.asarray(image))
    return functional.resized_crop(image, top, left, height, width, step.scale, BICUBIC)


def random_flip(step, image: Image.Image, results: dict) -> Image.Image:
    return functional.hflip(image) if results['flip'] else image


def three_augment(step, image: Image.Image, results: dict) -> Image.Image:
    operation, radius = step.draw()
    if operation == 'blur':
        return image.filter(ImageFilter.GaussianBlur(radius))
    if operation == 'solarize':
        return functional.solarize(image, 128)
    return functional.to_grayscale(image, 3)


def colour_jitter(step, image: Image.Image, results: dict) -> Image.Image:
    order, brightness, contrast, saturation, hue = step._rand_params()
    assert hue is None
    operations = (
        lambda image: functional.adjust_brightness(image, brightness),
        lambda image: functional.adjust_contrast(image, contrast),
        lambda image: functional.adjust_saturation(image, saturation),
        lambda image: image,
    )
    for place in order:
        image = operations[place](image)
    return image


STEPS = {
    'RandomResizedCrop': random_resized_crop,
    'RandomFlip': random_flip,
    'ThreeAugment': three_augment,
    'ColorJitter': colour_jitter,
}


@pytest.mark.parametrize('name', TRAINED)
def test_training_step_by_step(files, name):
    """Every step has drawn the same as its counterpart, which gives the very same pixels."""
    seeding, loading, *steps, packing = config(name).train_pipeline
    assert seeding == dict(type='SeedAugmentation') and packing == dict(type='PackInputs')
    assert loading == LOAD
    assert [step.type for step in steps] == list(STEPS)
    transforms_ = [TRANSFORMS.build(dict(step)) for step in steps]
    for seed, file in enumerate(files):
        image = load(file)
        results = TRANSFORMS.build(dict(loading))(dict(img_path=str(file)))
        assert difference(results, image) == 0
        for step in transforms_:
            seed_everything(seed)
            results = step(results)
            seed_everything(seed)
            image = STEPS[type(step).__name__](step, image, results)
            assert difference(results, image) == 0, type(step).__name__
        assert results['img'].shape == (TRAINED[name], TRAINED[name], 3)


@pytest.mark.parametrize('name', TRAINED)
def test_recipes_differ_in_the_size_alone(name):
    """And Imagenette, of few and small pictures, in how much a crop keeps at least."""
    steps, others = config(name).train_pipeline, config('imagenet_192').train_pipeline
    assert steps[2].pop('scale') == TRAINED[name] and others[2].pop('scale') == 192
    least = 0.35 if name == 'imagenette' else 0.08
    assert steps[2].pop('crop_ratio_range') == (least, 1.0)
    assert others[2].pop('crop_ratio_range') == (0.08, 1.0)
    assert steps == others


def test_crops_are_drawn_as_torchvision_draws_them():
    seed_everything(0)
    crop = TRANSFORMS.build(dict(config('imagenet_192').train_pipeline[2]))
    picture = Image.new('RGB', (500, 375))
    count = 4000
    ours = [crop.rand_crop_params(np.asarray(picture)) for _ in range(count)]
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    get = transforms.RandomResizedCrop.get_params
    theirs = [get(picture, scale, ratio) for _ in range(count)]
    for quantity in (
        lambda top, left, height, width: height * width / 187500,
        lambda top, left, height, width: np.log(width / height),
        lambda top, left, height, width: (top + height / 2) / 375,
        lambda top, left, height, width: (left + width / 2) / 500,
    ):
        a, b = (np.array([quantity(*box) for box in boxes]) for boxes in (ours, theirs))
        error = np.hypot(a.std(), b.std()) / count**0.5
        assert abs(a.mean() - b.mean()) < 4 * error
        np.testing.assert_allclose(np.percentile(a, [5, 95]), np.percentile(b, [5, 95]), atol=0.03)


def test_jitter_is_drawn_as_torchvision_draws_it():
    seed_everything(0)
    jitter = TRANSFORMS.build(dict(config('imagenet_192').train_pipeline[5]))
    drawn = [jitter._rand_params() for _ in range(2000)]
    for factors in zip(*(factors[1:4] for factors in drawn), strict=True):
        assert 0.7 <= min(factors) < 0.71 and 1.29 < max(factors) <= 1.3
        assert np.mean(factors) == pytest.approx(1, abs=0.02)
    orders = Counter(tuple(place for place in order if place < 3) for order, *_ in drawn)
    assert len(orders) == 6 and min(orders.values()) > 250


def test_flips_are_even():
    seed_everything(0)
    flip = TRANSFORMS.build(dict(config('imagenet_192').train_pipeline[3]))
    pixels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert 440 < sum(flip(dict(img=pixels))['flip'] for _ in range(1000)) < 560


@pytest.mark.parametrize('name', EVALUATED)
def test_evaluation_as_a_whole(files, name):
    """From file to model input; the pixels are equal, the normalised values to float32."""
    edge, size = EVALUATED[name]
    cfg = config(name)
    pipeline = Compose([dict(step) for step in cfg.test_pipeline])
    preprocessor = ClsDataPreprocessor(
        **{key: value for key, value in cfg.data_preprocessor.items() if key != 'type'}
    )
    pixels = transforms.Compose([transforms.Resize(edge, BICUBIC), transforms.CenterCrop(size)])
    normalise = transforms.Compose([
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    extra = dict(gt_label=1, corruption='fog', severity=2)
    packed = [pipeline(dict(img_path=str(file), **extra)) for file in files]
    cropped = [pixels(load(file)) for file in files]
    for data, image in zip(packed, cropped, strict=True):
        ours, theirs = data['inputs'].flip(0), functional.pil_to_tensor(image)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    inputs = preprocessor(default_collate(packed))['inputs']
    expected = torch.stack([normalise(image) for image in cropped])
    torch.testing.assert_close(inputs, expected, rtol=0, atol=2e-6)


def test_samples_of_imagenet_c_tell_how_they_were_corrupted(noise):
    pipeline = Compose([dict(step) for step in config('imagenet_c').test_pipeline])
    info = dict(img_path=str(noise[0]), gt_label=7, corruption='fog', severity=2)
    sample = pipeline(info)['data_samples'].to_dict()
    assert (sample['corruption'], sample['severity'], int(sample['gt_label'])) == ('fog', 2, 7)


def test_vtab_squashes(files):
    cfg = config('vtab1k')
    assert cfg.train_pipeline == [dict(type='SeedAugmentation'), *cfg.test_pipeline]
    pipeline = Compose([dict(step) for step in cfg.test_pipeline])
    for file in files:
        ours = pipeline(dict(img_path=str(file)))['inputs'].flip(0)
        theirs = functional.pil_to_tensor(load(file).resize((224, 224), Image.Resampling.BICUBIC))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK', 'P', 'RGBA'])
def test_every_kind_of_file_is_read_as_pillow_reads_it(noise, tmp_path, mode):
    file = tmp_path / ('image.png' if mode in ('P', 'RGBA') else 'image.JPEG')
    image = load(noise[0])
    if mode == 'RGBA':
        image.putalpha(Image.linear_gradient('L').resize(image.size))
    image.convert(mode).save(file)
    assert Image.open(file).mode == mode
    results = TRANSFORMS.build(dict(LOAD))(dict(img_path=str(file)))
    assert difference(results, load(file)) == 0


def test_exif_orientation_is_ignored_as_torchvision_does(noise, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown rotated by 90 degrees
    load(noise[0]).save(tmp_path / 'turned.JPEG', exif=exif)
    results = TRANSFORMS.build(dict(LOAD))(dict(img_path=str(tmp_path / 'turned.JPEG')))
    assert results['img'].shape == (224, 331, 3)
    assert difference(results, load(tmp_path / 'turned.JPEG')) == 0


@pytest.fixture
def folders(noise: list[Path], tmp_path: Path) -> Path:
    """Ten classes of Imagenette with two images each in train and in val."""
    wnids = (
        'n01440764', 'n02102040', 'n02979186', 'n03000684', 'n03028079', 'n03394916', 'n03417042',
        'n03425413', 'n03445777', 'n03888257',
    )  # fmt: skip
    for split in ('train', 'val'):
        for place, wnid in enumerate(wnids):
            folder = tmp_path / 'imagenette' / split / wnid
            folder.mkdir(parents=True)
            for number in (0, 1):
                (folder / f'{number}.JPEG').symlink_to(noise[(place + number) % 4])
    return tmp_path / 'imagenette'


def on_one_process(loader: dict, data_root: Path) -> dict:
    loader = dict(loader, num_workers=0, persistent_workers=False, pin_memory=False)
    loader['dataset'] = dict(loader['dataset'], data_root=str(data_root))
    return loader


def test_training_batches(folders):
    """A batch is one uint8 tensor; the seed of the sample alone makes its picture."""
    cfg = config('imagenette')
    assert cfg.train_dataloader.pop('batch_size') == 32
    settings = dict(on_one_process(cfg.train_dataloader, folders), batch_size=8)
    loader = Runner.build_dataloader(settings, seed=0)
    assert isinstance(loader.sampler, ReplayableInfiniteSampler) and loader.drop_last
    batch = next(iter(loader))
    assert batch['inputs'].shape == (8, 3, 64, 64) and batch['inputs'].dtype == torch.uint8
    labels = [int(sample.gt_label) for sample in batch['data_samples']]
    assert len(set(labels)) > 1 and set(labels) <= set(range(10))
    seed_everything(99)
    pictures = [loader.dataset[SeededIndex(3, seed)]['inputs'] for seed in (5, 6, 5)]
    assert torch.equal(pictures[0], pictures[2]) and not torch.equal(pictures[0], pictures[1])


def test_imagenette_has_its_own_labels(folders):
    cfg = config('imagenette')
    dataset = Runner.build_dataloader(on_one_process(cfg.val_dataloader, folders)).dataset
    assert dataset.get_gt_labels().tolist() == [n for n in range(10) for _ in range(2)]
    assert dataset.metainfo['classes'][5] == 'French horn'
    assert cfg.data_preprocessor.num_classes == 10


@pytest.mark.parametrize('name', EVALUATED)
def test_settings_of_the_config(name):
    cfg = config(name)
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator
    assert cfg.val_dataloader.sampler == dict(type='DefaultSampler', shuffle=False)
    assert cfg.val_dataloader.dataset.pipeline == cfg.test_pipeline
    assert cfg.data_preprocessor.to_rgb is True
    if name in ('imagenet_192', 'imagenet_224'):
        splits = [cfg[f'{x}_dataloader'].dataset.split for x in ('train', 'val')]
        assert splits == ['train', 'val']
        assert cfg.val_evaluator == dict(type='Accuracy', topk=(1, 5))
    if name in TRAINED:
        assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
    else:
        assert 'train_dataloader' not in cfg


VTAB_CLASSES = dict(
    caltech101=102, cifar=100, clevr_count=8, clevr_dist=6, diabetic_retinopathy=5, dmlab=6,
    dsprites_loc=16, dsprites_ori=16, dtd=47, eurosat=10, kitti=4, oxford_flowers102=102,
    oxford_iiit_pet=37, patch_camelyon=2, resisc45=45, smallnorb_azi=18, smallnorb_ele=9,
    sun397=397, svhn=10,
)  # fmt: skip


@pytest.mark.parametrize('name', VTAB_CLASSES)
def test_vtab_data_set_is_chosen_by_the_environment(monkeypatch, tmp_path, name):
    monkeypatch.setenv('VTAB_DATASET', name)
    (tmp_path / 'run.py').write_text(
        f'_base_ = {str(vil_mm.CONFIG_DIR / "_base_" / "datasets" / "vtab1k.py")!r}\n'
        'model = dict(head=dict(num_classes={{_base_.num_classes}}))\n'
    )
    cfg = Config.fromfile(tmp_path / 'run.py')
    assert cfg.model.head.num_classes == VTAB_CLASSES[name] == cfg.data_preprocessor.num_classes
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert loader.dataset.data_root == f'data/vtab-1k/{name}'


@pytest.mark.parametrize(
    ('chosen', 'trained_on', 'evaluated_on'),
    [
        (None, 'train800val200.txt', 'test.txt'),
        ('train800val200', 'train800val200.txt', 'test.txt'),
        ('train800', 'train800.txt', 'val200.txt'),
    ],
)
def test_vtab_lists(monkeypatch, noise, tmp_path, chosen, trained_on, evaluated_on):
    if chosen is not None:
        monkeypatch.setenv('VTAB_TRAIN', chosen)
    cfg = config('vtab1k')
    assert cfg.train_dataloader.dataset.ann_file == trained_on
    assert cfg.val_dataloader.dataset.ann_file == evaluated_on
    (tmp_path / 'images').mkdir()
    for number in range(3):
        (tmp_path / 'images' / f'{number}.jpg').symlink_to(noise[number])
    lines = [f'images/{number}.jpg {label}' for number, label in ((0, 7), (1, 0), (2, 101))]
    (tmp_path / trained_on).write_text('\n'.join(lines))
    settings = dict(on_one_process(cfg.train_dataloader, tmp_path), batch_size=3)
    loader = Runner.build_dataloader(settings, seed=0)
    batch = next(iter(loader))
    assert batch['inputs'].shape == (3, 3, 224, 224)
    assert {int(sample.gt_label) for sample in batch['data_samples']} == {7, 0, 101}


@pytest.mark.parametrize(
    ('variable', 'value', 'known'),
    [('VTAB_DATASET', 'cifar100', 'cifar, caltech101'), ('VTAB_TRAIN', 'test', 'train800')],
)
def test_vtab_refuses_an_unknown_choice(monkeypatch, variable, value, known):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f'{variable}={value}: expected one of .*{known}'):
        config('vtab1k')
