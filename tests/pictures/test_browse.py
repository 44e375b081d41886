"""Pictures of a data set: the same augmentation as in training, colours, labels, steps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from vil_mm.datasets.replay import SeededIndex, mix_seeds
from vil_mm.pictures import browse as module
from vil_mm.pictures.browse import _innermost, _steps, browse
from vil_mm.runs.build import build_dataset
from vil_mm.runs.reading import read_config


@pytest.fixture
def cfg(tiny_config) -> Config:
    return read_config(str(tiny_config))


def dataset_of(cfg: Config):
    return build_dataset(cfg, 'train')


def test_steps_are_those_of_the_pipeline(cfg) -> None:
    dataset = dataset_of(cfg)
    steps = _steps(dataset, 0, 3)
    names = [name.split()[1] for name in steps]
    assert names[:4] == ['LoadImageFromFile', 'LoadAnnotations', 'RandomResize', 'RandomCrop']
    image, labels = list(steps.values())[-1]
    assert image.shape == (64, 64, 3) and labels.shape == (64, 64)
    again = list(_steps(dataset, 0, 3).values())[-1]
    assert np.array_equal(image, again[0]), 'one seed, one augmentation'
    others = [list(_steps(dataset, 0, seed).values())[-1][0] for seed in range(4)]
    assert any(not np.array_equal(image, other) for other in others)


def test_last_step_is_what_is_packed(cfg) -> None:
    """The pipeline run as training runs it gives the very picture that is drawn."""
    dataset = dataset_of(cfg)
    packed = dataset[SeededIndex(2, mix_seeds(5, 0))]
    image, labels = list(_steps(dataset, 2, 5).values())[-1]
    assert np.array_equal(packed['inputs'].permute(1, 2, 0).numpy(), image)
    assert np.array_equal(packed['data_samples'].gt_sem_seg.data[0].numpy(), labels)


def test_red_stays_red(cfg, drawn_data, tmp_path) -> None:
    (file,) = browse(cfg, tmp_path / 'out', mode='original', phase='val', number=1)
    picture = cv2.imread(str(file))
    source = cv2.imread(str(sorted((drawn_data / 'images/validation').iterdir())[0]))
    factor = max(1, -(-256 // source.shape[0]))
    large = cv2.resize(source, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    found = cv2.matchTemplate(picture, large, cv2.TM_SQDIFF_NORMED).min()
    swapped = cv2.matchTemplate(picture, large[..., ::-1].copy(), cv2.TM_SQDIFF_NORMED).min()
    assert found < 1e-6 < swapped


@pytest.mark.parametrize(('mode', 'parts'), [('transformed', 1), ('concat', 2), ('pipeline', 4)])
def test_modes(cfg, tmp_path, monkeypatch, mode, parts) -> None:
    titles, seen = [], []
    titled = module._titled
    monkeypatch.setattr(module, '_titled', lambda *args: (titles.append(args[1]), titled(*args))[1])
    files = browse(
        cfg, tmp_path / mode, mode=mode, number=2, progress=lambda *step: seen.append(step)
    )
    assert [file.name[:6] for file in files] == ['00000_', '00001_']
    assert seen == [('images', 1, 2), ('images', 2, 2)]
    assert len(titles) >= 2 * parts and all(file.is_file() for file in files)
    assert mode == 'pipeline' or titles[-1] == 'transformed, 64 x 64'


@pytest.mark.parametrize('mode', ['concat', 'pipeline'])
def test_steps_share_a_page_that_fits_a_screen(cfg, tmp_path, monkeypatch, mode) -> None:
    """Whatever their sizes: titles of one size, images of one height."""
    sizes, heights = [], []
    titled, resized = module._titled, module._resized
    monkeypatch.setattr(module, '_titled', lambda *args: (sizes.append(args[2]), titled(*args))[1])
    monkeypatch.setattr(
        module, '_resized', lambda *args: (heights.append(args[1]), resized(*args))[1]
    )
    (file,) = browse(cfg, tmp_path / mode, mode=mode, number=1)
    height, width, _ = cv2.imread(str(file)).shape
    assert width <= module.SCREEN[0] and height <= module.SCREEN[1]
    assert width > module.SCREEN[0] / 2 or height > module.SCREEN[1] / 2, 'and fill it'
    assert len(set(sizes)) == 1 and heights[-2] == heights[-1]


def test_labels_keep_their_values_when_a_step_is_resized() -> None:
    labels = np.array([[0, 255], [7, 3]])
    image, resized = module._resized((np.zeros((2, 2, 3), np.uint8), labels), 64)
    assert image.shape == (64, 64, 3) and resized.shape == (64, 64)
    assert set(np.unique(resized)) == {0, 3, 7, 255}


def test_classifier(tmp_path) -> None:
    for name, colour in (('cat', (255, 0, 0)), ('dog', (0, 0, 255))):
        (tmp_path / 'set' / name).mkdir(parents=True)
        image = np.full((40, 40, 3), colour, np.uint8)
        cv2.imwrite(str(tmp_path / 'set' / name / 'a.png'), image)
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}]
    dataset = {'type': 'CustomDataset', 'data_root': str(tmp_path / 'set'), 'pipeline': pipeline}
    cfg = Config({'default_scope': 'mmpretrain', 'train_dataloader': {'dataset': dataset}})
    files = browse(cfg, tmp_path / 'out')
    middles = [cv2.imread(str(file))[200, 128].tolist() for file in files]
    assert middles == [[255, 0, 0], [0, 0, 255]]


def test_wrappers_are_looked_through(cfg) -> None:
    own = cfg.train_dataloader.dataset
    twice = {'type': 'RepeatDataset', 'times': 2, 'dataset': own}
    cfg.train_dataloader.dataset = {'type': 'ConcatDataset', 'datasets': [own, twice]}
    dataset = dataset_of(cfg)
    assert [_innermost(dataset, i)[1] for i in (0, 7, 8, 16, 23)] == [0, 7, 0, 0, 7]


def test_what_cannot_be_drawn(cfg, tmp_path) -> None:
    out = tmp_path / 'out'
    with pytest.raises(ValueError, match='number=0: expected 1 or more'):
        browse(cfg, out, number=0)
    cfg.train_dataloader.dataset.data_root = 'nowhere'
    with pytest.raises(FileNotFoundError, match='train data not found: nowhere'):
        browse(cfg, out)
    cfg.test_dataloader = None
    with pytest.raises(ValueError, match='has no test_dataloader'):
        browse(cfg, out, phase='test')
    assert not out.exists()


def test_no_images(cfg, tmp_path) -> None:
    cfg.train_dataloader.dataset.img_suffix = '.tif'
    with pytest.raises(ValueError, match=r"train data: no image .*\*\.tif: set img_suffix='\.jpg'"):
        browse(cfg, tmp_path / 'out')
