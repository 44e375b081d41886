"""From users' folders to recoded masks, lists and a config."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from own_data.conftest import labels_of
from PIL import Image

from vil_mm.own_data import FinetuneOptions, prepare
from vil_mm.own_data.prepare import class_weights

BW = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
RGB = np.array([[0, 0, 0], [200, 30, 10], [20, 140, 60]], np.uint8)
GREYS = np.array([0, 128, 255], np.uint8)


@pytest.mark.parametrize(
    ('pixels', 'weights'),
    [
        ([500, 500], None),
        ([940, 60], None),
        ([960, 40], [1.0, 4.9]),  # the root of 24
        ([30, 1970, 8000], [10.0, 2.0, 1.0]),
        ([1000, 0], [1.0, 10.0]),
    ],
)
def test_rare_classes_weigh_more(pixels: list[int], weights: list[float] | None) -> None:
    assert class_weights(np.array(pixels)) == weights


def indexed(labels: np.ndarray, colours: np.ndarray = RGB) -> Image.Image:
    image = Image.fromarray(labels, 'P')
    image.putpalette(colours.ravel().tolist())
    return image


def alpha(labels: np.ndarray) -> Image.Image:
    painted = np.zeros((*labels.shape, 4), np.uint8)
    painted[labels > 0] = (200, 30, 10, 255)
    return Image.fromarray(painted)


def prepared(folders, out: Path, *classes: str, **options) -> tuple[Config, list[str]]:
    said: list[str] = []
    images, masks = map(str, folders)
    options = FinetuneOptions(images, masks, classes or ('background', 'crack'), **options)
    return Config.fromfile(prepare(options, out, said.append)), said


def written(out: Path, name: str) -> np.ndarray:
    image = Image.open(out / 'data' / 'masks' / name)
    assert image.mode == 'L'
    return np.asarray(image)


def build(cfg: dict) -> BaseDataset:
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(cfg)


@pytest.mark.parametrize(
    ('encode', 'num_classes', 'values'),
    [
        pytest.param(lambda x: Image.fromarray(x), 2, None, id='0/1'),
        pytest.param(lambda x: Image.fromarray(x * 255), 2, None, id='0/255'),
        pytest.param(lambda x: Image.fromarray(x > 0), 2, None, id='one bit'),
        pytest.param(lambda x: Image.fromarray(x + 1), 3, None, id='from 1'),
        pytest.param(lambda x: Image.fromarray(GREYS[x]), 3, None, id='grey levels'),
        pytest.param(lambda x: Image.fromarray(x.astype(np.uint16) * 300), 3, None, id='16 bits'),
        pytest.param(lambda x: Image.fromarray(x.astype(np.float32)), 2, None, id='floats'),
        pytest.param(lambda x: Image.fromarray(BW[x]), 2, None, id='grey as RGB'),
        pytest.param(lambda x: Image.fromarray(RGB[x]), 2, None, id='black and a colour'),
        pytest.param(alpha, 2, None, id='painted on nothing'),
        pytest.param(indexed, 3, None, id='palette'),
        pytest.param(lambda x: indexed(x * 7), 2, None, id='palette with gaps'),
        pytest.param(
            lambda x: Image.fromarray(RGB[x]),
            3,
            ['background=#000000', 'crack=#c81e0a', 'tree=#148C3c'],
            id='colours',
        ),
        pytest.param(
            lambda x: Image.fromarray(GREYS[x]), 3, ['background=0', 'crack=128', 'tree=rest'],
            id='rest',
        ),
    ],
)  # fmt: skip
def test_kinds_of_masks(write_set, tmp_path, encode, num_classes, values):
    mask = 'IMG_{}.tif' if num_classes == 2 else 'IMG_{}.png'
    folders = write_set(encode, num=3, num_classes=num_classes, mask=mask)
    before = [path.read_bytes() for path in sorted(folders[1].iterdir())]
    names = ('background', 'crack', 'tree')[:num_classes]
    _, said = prepared(folders, tmp_path / 'out', *names, values=values)
    for i in range(3):
        assert np.array_equal(written(tmp_path / 'out', f'IMG_{i}.png'), labels_of(i, num_classes))
    assert [path.read_bytes() for path in sorted(folders[1].iterdir())] == before
    assert any(line.endswith('-> 1 crack') for line in said)


def test_weights_reach_the_loss_of_every_head(write_set, tmp_path) -> None:
    def thin(labels: np.ndarray) -> Image.Image:
        first = np.cumsum(labels, dtype=int).reshape(labels.shape) <= 40
        return Image.fromarray(labels * first * np.uint8(255))

    cfg, _ = prepared(write_set(thin), tmp_path / 'out')
    assert cfg.class_weight == [1.0, 6.1]  # 40 pixels of 48 x 32
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        assert head.loss_decode.class_weight == cfg.class_weight


def test_palettes_that_differ_are_read_by_colour(write_set, tmp_path):
    count = iter(range(99))

    def either(labels: np.ndarray) -> Image.Image:
        return indexed(1 - labels, RGB[[1, 0]]) if next(count) % 2 else indexed(labels)

    _, said = prepared(write_set(either), tmp_path / 'out')
    for i in range(6):
        assert np.array_equal(written(tmp_path / 'out', f'IMG_{i}.png'), labels_of(i))
    assert any('palettes differ' in line for line in said)


def test_a_mask_without_a_painted_pixel(write_set, tmp_path):
    """Its format would have it read by value, the others by index or colour."""
    for name, encode in (('a', indexed), ('b', lambda labels: Image.fromarray(RGB[labels]))):
        empty = iter([0] + [1] * 5)
        folders = write_set(lambda x, encode=encode, n=empty: encode(x * next(n)))
        _, said = prepared(folders, tmp_path / name)
        assert written(tmp_path / name, 'IMG_0.png').max() == 0
        assert np.array_equal(written(tmp_path / name, 'IMG_1.png'), labels_of(1))
        assert not any('some have' in line for line in said)


def test_jpeg_masks_are_snapped(write_set, tmp_path):
    folders = write_set(mask='IMG_{}.jpg')
    prepared(folders, tmp_path / 'out')
    for i in range(6):
        same = written(tmp_path / 'out', f'IMG_{i}.png') == labels_of(i)
        assert same.mean() > 0.99


def test_jpeg_masks_of_three_values(write_set, tmp_path):
    folders = write_set(lambda x: Image.fromarray(GREYS[x]), num_classes=3, mask='IMG_{}.jpg')
    values = ['background=0', 'crack=128', 'tree=255']
    _, said = prepared(folders, tmp_path / 'out', 'background', 'crack', 'tree', values=values)
    assert any('those near (' in line for line in said)
    got, wanted = written(tmp_path / 'out', 'IMG_0.png'), labels_of(0, 3)
    assert (got == wanted).mean() > 0.9
    assert set(np.unique(got)) <= {0, 1, 2, 255}


def test_an_example_of_values_that_works(write_set, tmp_path):
    """For coloured JPEG masks it names the painted colours, not their neighbours."""
    folders = write_set(lambda x: Image.fromarray(RGB[x]), num_classes=3, mask='IMG_{}.jpg')
    names = ('background', 'crack', 'tree')
    with pytest.raises(ValueError, match='which value is which class') as error:
        prepared(folders, tmp_path / 'out', *names)
    values = shlex.split(str(error.value).partition('For example: ')[2])
    assert len(values) == 3
    prepared(folders, tmp_path / 'out', *names, values=values)
    got = {int(x) for i in range(6) for x in np.unique(written(tmp_path / 'out', f'IMG_{i}.png'))}
    assert {0, 1, 2} <= got


def test_ignored_and_merged_values(write_set, tmp_path):
    folders = write_set(lambda x: Image.fromarray(GREYS[x]), num_classes=3)
    prepared(folders, tmp_path / 'out', values=['background=0', 'crack=128', 'ignore=255'])
    wanted = np.array([0, 1, 255])[labels_of(0, 3)]
    assert np.array_equal(written(tmp_path / 'out', 'IMG_0.png'), wanted)
    prepared(folders, tmp_path / 'two', values=['background=0', 'crack=128,255'])
    assert np.array_equal(written(tmp_path / 'two', 'IMG_0.png'), labels_of(0, 3) > 0)


@pytest.mark.parametrize('drawn_on_turned', [True, False])
def test_photos_turned_by_exif(write_set, tmp_path, drawn_on_turned):
    photos, masks = write_set()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    for photo in photos.iterdir():
        Image.open(photo).save(photo, exif=exif)
    if drawn_on_turned:
        for mask in masks.iterdir():
            Image.open(mask).transpose(Image.Transpose.ROTATE_270).save(mask)
    cfg, _ = prepared((photos, masks), tmp_path / 'out')
    assert np.array_equal(written(tmp_path / 'out', 'IMG_0.png'), np.rot90(labels_of(0), -1))
    item = build({**cfg.train_dataloader.dataset, 'pipeline': cfg.test_pipeline})[0]
    inputs, labels = item['inputs'], item['data_samples'].gt_sem_seg.data
    assert inputs.shape[1] > inputs.shape[2] and labels.shape[1] > labels.shape[2]
    # photos are bright where the mask has class 1
    big = np.kron(labels[0].numpy(), np.ones((1, 1)))
    dark, bright = (
        np.asarray(Image.fromarray(inputs[0].numpy()).resize(big.T.shape))[big == k].mean()
        for k in (0, 1)
    )
    assert bright - dark > 50


def test_the_data_set_reads_what_was_written(write_set, tmp_path):
    folders = write_set(photo='sub/IMG {}.JPG', mask='sub/IMG {}_mask.png', num=10)
    cfg, said = prepared(folders, tmp_path / 'out')
    parts = [build(cfg[f'{part}_dataloader'].dataset) for part in ('train', 'val')]
    assert [len(part) for part in parts] == [8, 2]
    assert parts[0].metainfo['classes'] == ('background', 'crack')
    for part in parts:
        for i in range(len(part)):
            info = part.get_data_info(i)
            assert Path(info['img_path']).is_file() and Path(info['seg_map_path']).is_file()
    assert any(line.startswith('split    8 to train, 2 to validate') for line in said)


def test_a_folder_with_a_quote(write_set, tmp_path):
    (tmp_path / "Ann's").mkdir()
    config, _ = prepared(write_set(), tmp_path / "Ann's" / 'out')
    assert config.work_dir == str(tmp_path / "Ann's" / 'out' / 'run')


def test_photos_of_several_endings(write_set, tmp_path):
    photos, masks = write_set()
    (photos / 'IMG_0.jpg').rename(photos / 'IMG_0.JPEG')
    cfg, _ = prepared((photos, masks), tmp_path / 'out')
    data = build(cfg.train_dataloader.dataset)
    infos = [data.get_data_info(i) for i in range(len(data))]
    assert all(Path(x['img_path']).is_file() and Path(x['seg_map_path']).is_file() for x in infos)


def test_folders_of_the_user_are_the_split(write_set, tmp_path):
    folders = write_set(photo='train/a{}.jpg', mask='train/a{}.png', num=3)
    write_set(photo='val/a{}.jpg', mask='val/a{}.png', num=2)
    _, said = prepared(folders, tmp_path / 'out')
    assert (tmp_path / 'out/data/val.txt').read_text().split() == ['val/a0', 'val/a1']
    assert any('by your folders train and val' in line for line in said)


def test_a_rare_class_is_trained_on(write_set, tmp_path):
    rare = iter([2] + [1] * 9)
    folders = write_set(lambda x: Image.fromarray(x * next(rare)), num=10)
    for seed in range(4):
        prepared(folders, tmp_path / f'{seed}', 'a', 'b', 'c', seed=seed)
        assert 'IMG_0' in (tmp_path / f'{seed}/data/train.txt').read_text().split()


def test_the_same_again_keeps_the_config(write_set, tmp_path):
    folders = write_set()
    prepared(folders, tmp_path / 'out')
    config = tmp_path / 'out' / 'config.py'
    config.write_text(config.read_text() + '# mine\n')
    _, said = prepared(folders, tmp_path / 'out')
    assert config.read_text().endswith('# mine\n') and 'is kept' in said[0]
    with pytest.raises(ValueError, match=r'was made with seed 0, not 1: choose another folder'):
        prepared(folders, tmp_path / 'out', seed=1)


def test_a_folder_of_something_else_is_left_alone(write_set, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'mine.txt').touch()
    with pytest.raises(ValueError, match='was not made by this tool'):
        prepared(write_set(), tmp_path / 'out')


@pytest.mark.parametrize(
    ('encode', 'options', 'message'),
    [
        (None, dict(classes=None), r'name the classes.* the masks hold 2 values: 0 \(9'),
        (None, dict(classes=['crack']), 'only one name, but the background is a class too'),
        (None, dict(classes=['a', 'a']), 'names a twice'),
        (None, dict(classes=['a', 'b', 'c']), 'hold 2 values for 3 classes.* a=0 b=255'),
        (lambda x: Image.fromarray(x * 0), {}, 'only one class occurs'),
        (lambda x: Image.fromarray(RGB[x]), {}, "hold 3 colours for 2 .* background='#000000'"),
        (None, dict(values=['background=0']), 'no value for crack: .*CLASS=rest'),
        (None, dict(values=['background=0', 'crack=1']), 'also hold 255'),
        (None, dict(values=['background=0', 'crak=255']), 'did you mean crack'),
        (None, dict(values=['background=0', 'crack:255']), 'expected CLASS=VALUE'),
        (None, dict(values=['background=0', 'crack=0']), '0 already has another class'),
        (lambda x: Image.fromarray(x + 0.5), {}, 'IMG_0.tif: fractional values'),
        (
            lambda x: Image.fromarray(np.linspace(0, 255, x.size).reshape(x.shape).astype('u1')),
            {},
            'hold 256 values',
        ),
        (
            lambda x: Image.fromarray(
                np.random.default_rng(0).integers(0, 256, (*x.shape, 3)).astype('u1')
            ),
            {},
            'look like photos .* swapped',
        ),
        (lambda x: Image.fromarray(x[:30]), {}, '48x30 pixels, its photo .* has 48x32'),
    ],
)
def test_masks_that_do_not_fit(write_set, tmp_path, encode, options, message):
    folders = write_set(*[encode] * (encode is not None), num_classes=3 if encode else 2,
                        mask='IMG_{}.tif')  # fmt: skip
    options = {'classes': ['background', 'crack'], **options}
    with pytest.raises(ValueError, match=message) as error:
        prepare(FinetuneOptions(*map(str, folders), **options), tmp_path / 'out', lambda line: None)
    assert len(str(error.value).splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['masks', 'photos']


def test_files_that_cannot_be_used(write_set, tmp_path):
    photos, masks = write_set()
    (photos / 'IMG_1.jpg').write_bytes((photos / 'IMG_1.jpg').read_bytes()[:300])
    with pytest.raises(ValueError, match=r'IMG_1\.jpg cannot be read: (?i:.*trunc)'):
        prepared((photos, masks), tmp_path / 'out')
    (masks / 'IMG_1.png').unlink()
    with pytest.raises(ValueError, match=r'1 files have no partner \(5 pairs.*IMG_1\.jpg'):
        prepared((photos, masks), tmp_path / 'out')
    _, said = prepared((photos, masks), tmp_path / 'out', skip_unpaired=True)
    assert any(line.startswith('left out 1') for line in said)
    (masks / 'IMG_2.png').write_text('no image')
    with pytest.raises(ValueError, match=r'IMG_2\.png cannot be read as a mask'):
        prepared((photos, masks), tmp_path / 'new', skip_unpaired=True)
