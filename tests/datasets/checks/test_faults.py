"""Every fault of a data set is named before the run: file, value and cure."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from vil_mm.datasets import DatasetError
from vil_mm.engine.data import check_samples, look_at_data

Fault = Callable[[Path, Config], None]


def images(root: Path, split: str = '*') -> list[Path]:
    return sorted(root.glob(f'images/{split}/*'))


def masks(root: Path, split: str = '*') -> list[Path]:
    return sorted(root.glob(f'masks/{split}/*'))


def recode(paths: list[Path], change: Callable[[np.ndarray], np.ndarray], **options) -> None:
    for path in paths:
        Image.fromarray(change(np.array(Image.open(path)))).save(path, **options)


def rename(paths: list[Path], change: Callable[[str], str]) -> None:
    for path in paths:
        path.rename(path.with_name(change(path.name)))


def both(cfg: Config, **options) -> None:
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.update(options)


# each takes a right set and makes it wrong


def no_images_of_that_suffix(root: Path, cfg: Config) -> None:
    both(cfg, img_suffix='.png')


def capital_suffix(root: Path, cfg: Config) -> None:
    rename(images(root), lambda name: name.replace('.jpg', '.JPG'))


def some_capital_suffixes(root: Path, cfg: Config) -> None:
    rename(images(root, 'train')[:2], lambda name: name.replace('.jpg', '.JPG'))
    rename(masks(root, 'train')[:1], str)


def jpeg_beside_jpg(root: Path, cfg: Config) -> None:
    rename(images(root, 'val')[:1], lambda name: name.replace('.jpg', '.jpeg'))


def swapped_folders(root: Path, cfg: Config) -> None:
    prefix = cfg.train_dataloader.dataset.data_prefix
    prefix.img_path, prefix.seg_map_path = prefix.seg_map_path, prefix.img_path


def swapped_folders_of_one_suffix(root: Path, cfg: Config) -> None:
    for path in images(root):
        Image.open(path).save(path.with_suffix('.png'))
        path.unlink()
    both(cfg, img_suffix='.png')
    swapped_folders(root, cfg)


def missing_mask(root: Path, cfg: Config) -> None:
    masks(root, 'train')[2].unlink()


def missing_mask_in_val(root: Path, cfg: Config) -> None:
    masks(root, 'val')[0].unlink()
    masks(root, 'val')[0].unlink()


def masks_named_otherwise(root: Path, cfg: Config) -> None:
    rename(masks(root), lambda name: name.replace('.png', '_mask.png'))


def masks_of_another_name(root: Path, cfg: Config) -> None:
    rename(masks(root), lambda name: f'mask_{name}')


def capital_masks(root: Path, cfg: Config) -> None:
    rename(masks(root), lambda name: name.replace('.png', '.PNG'))


def no_mask_folder(root: Path, cfg: Config) -> None:
    cfg.train_dataloader.dataset.data_prefix.pop('seg_map_path')


def smaller_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels[::2, ::2])


def turned_photos(root: Path, cfg: Config) -> None:
    """Stored lying, with a tag that asks to turn them; the masks fit what is stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    recode(images(root, 'train'), lambda image: image, exif=exif)


def upside_down_photos(root: Path, cfg: Config) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    recode(images(root, 'train'), lambda image: image, exif=exif)


def colour_masks(root: Path, cfg: Config) -> None:
    colours = np.array([[0, 0, 0], [128, 0, 0]], np.uint8)
    recode(masks(root), lambda labels: colours[labels])


def grey_masks_of_three_channels(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: np.stack([labels] * 3, axis=2))


def masks_with_alpha(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: np.stack([labels, labels * 0 + 255], axis=2))


def palette_masks_read_as_colours(root: Path, cfg: Config) -> None:
    palette_masks(root, cfg)
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.pipeline[1].imdecode_backend = 'cv2'


def deep_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels.astype(np.uint16) * 65535)


def deep_masks_of_small_values(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels.astype(np.uint16))


def one_wrong_value(root: Path, cfg: Config) -> None:
    recode(masks(root, 'val')[1:2], lambda labels: labels * 7)


def values_from_one(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels + 1)


def zero_for_none(root: Path, cfg: Config) -> None:
    def change(labels: np.ndarray) -> np.ndarray:
        labels = labels + 1
        labels[:5] = 0
        return labels

    recode(masks(root), change)


def grey_levels(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels * 128)


def white_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels * 255)


def white_masks_in_val(root: Path, cfg: Config) -> None:
    recode(masks(root, 'val'), lambda labels: labels * 255)


def black_masks(root: Path, cfg: Config) -> None:
    recode(masks(root, 'train'), lambda labels: labels * 0)


def black_masks_in_val(root: Path, cfg: Config) -> None:
    recode(masks(root, 'val'), lambda labels: labels * 0)


def one_ignored_mask(root: Path, cfg: Config) -> None:
    recode(masks(root, 'train')[:1], lambda labels: labels * 0 + 255)


def only_ignored_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels * 0 + 255)


def third_class(root: Path, cfg: Config) -> None:
    both(cfg, metainfo=dict(classes=('background', 'crack', 'rust'), palette=[[0] * 3] * 3))


def lossy_masks(root: Path, cfg: Config) -> None:
    for path in masks(root):
        Image.open(path).point(lambda value: value * 255).save(path.with_suffix('.jpg'))
        path.unlink()
    both(cfg, seg_map_suffix='.jpg')


def other_ignore_index(root: Path, cfg: Config) -> None:
    one_ignored_mask(root, cfg)
    cfg.model.decode_head.ignore_index = 254


def reduced_in_train(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels + 1)
    cfg.train_dataloader.dataset.reduce_zero_label = True


def reduced_by_mistake(root: Path, cfg: Config) -> None:
    both(cfg, reduce_zero_label=True)


def reduced_by_the_transform(root: Path, cfg: Config) -> None:
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = True


def listed_with(text: str) -> Fault:
    def fault(root: Path, cfg: Config) -> None:
        (root / 'train.txt').write_bytes(text.encode())
        cfg.train_dataloader.dataset.ann_file = 'train.txt'

    return fault


def damaged(split: str, kind: str, content: Callable[[bytes], bytes]) -> Fault:
    def fault(root: Path, cfg: Config) -> None:
        path = sorted((root / kind / split).iterdir())[1]
        path.write_bytes(content(path.read_bytes()))

    return fault


def four_channels(root: Path, cfg: Config) -> None:
    for path in images(root):
        Image.open(path).convert('RGBA').save(path.with_suffix('.png'))
        path.unlink()
    both(cfg, img_suffix='.png')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.pipeline[0].color_type = 'unchanged'


def model_of_four_channels(root: Path, cfg: Config) -> None:
    cfg.model.backbone.in_channels = 4


def deep_images(root: Path, cfg: Config) -> None:
    for path in images(root):
        grey = np.array(Image.open(path).convert('L')).astype(np.uint16) * 16
        Image.fromarray(grey).save(path.with_suffix('.png'))
        path.unlink()
    both(cfg, img_suffix='.png')


def same_images(root: Path, cfg: Config) -> None:
    cfg.val_dataloader.dataset.data_prefix = cfg.train_dataloader.dataset.data_prefix


def copied_images(root: Path, cfg: Config) -> None:
    for kind, suffix in (('images', 'jpg'), ('masks', 'png')):
        name = f'train0.{suffix}'
        shutil.copy(root / kind / 'train' / name, root / kind / 'val' / name)


def in_a_wrapper(fault: Fault) -> Fault:
    def wrapped(root: Path, cfg: Config) -> None:
        fault(root, cfg)
        inner = cfg.train_dataloader.dataset
        concat = dict(type='ConcatDataset', datasets=[inner])
        cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=concat)

    return wrapped


def dataset_that_does_not_exist(root: Path, cfg: Config) -> None:
    cfg.train_dataloader.dataset.type = 'NoDataset'


ERRORS = [
    (no_images_of_that_suffix, r"no image .*images/train/\*\.png: set img_suffix='\.jpg'.* 6 files"),
    (capital_suffix, r"no image .*images/train/\*\.jpg: set img_suffix='\.JPG', which fits 6"),
    (swapped_folders, r'but 6 in .*images/train: are .*img_path and .*seg_map_path swapped\?'),
    (swapped_folders_of_one_suffix, r'img_path and data_prefix\.seg_map_path swapped\?'),
    (missing_mask, r'^train data: no mask .*train2\.png of .*train2\.jpg: add the mask'),
    (missing_mask_in_val, r'^val data: no mask .*val0\.png of .*val0\.jpg \(and 1 more\): add'),
    (masks_named_otherwise, r"no mask .* \(and 5 more\): set seg_map_suffix='_mask\.png'.* 6 of 6"),
    (masks_of_another_name, r'needs the name of its image .* are mask_train0\.png, .*: rename'),
    (capital_masks, r"set seg_map_suffix='\.PNG', which fits 6 of 6"),
    (no_mask_folder, r'set data_prefix\.seg_map_path'),
    (smaller_masks, r'train0\.png is 48x36, its image .*train0\.jpg 96x72 \(and 5 more\): save masks'),
    (turned_photos, r"is 96x72, its image .* 72x96 as .* EXIF .*color_type='color_ignore_orient"),
    (colour_masks, r'train0\.png has 3 channels and 2 colours.*replace each colour by the number'),
    (grey_masks_of_three_channels, r'has 3 channels.* all its channels are equal: keep one'),
    (masks_with_alpha, r'has 2 channels.* all its channels are equal: keep one'),
    (palette_masks_read_as_colours, r'has 3 channels and 2 colours'),
    (deep_masks, r'has values of more than 8 bits \(uint16, 0 to 65535\).*PNG of 8 bits'),
    (one_wrong_value, r'^val data: .*val1\.png holds the value 7, expected 0 to 1, or 255 '),
    (values_from_one, r'holds the value 2, .*: they count from 1: set reduce_zero_label=True'),
    (zero_for_none, r'holds the value 2, .*if 0 means "no class" set reduce_zero_label=True'),
    (grey_levels, r'holds the value 128.*levels of grey: recode them, 0 -> 0, 128 -> 1$'),
    (white_masks, r"^train data: class 'background' alone .*values are 0, 255: .*0 -> 0, 255 -> 1$"),
    (white_masks_in_val, r"^val data: class 'background' alone .* 3 masks read.* 255 -> 1$"),
    (black_masks, r"class 'background' alone occurs in the 6 masks read, whose values are 0: "),
    (only_ignored_masks, r'no class alone|no class occurs in the 6 masks read'),
    (lossy_masks, r'holds the values .*JPEG changes values: save masks as PNG'),
    (other_ignore_index, r'holds the value 255, expected 0 to 1, or 254 where there is no class'),
    (reduced_in_train, r'^val data: reduce_zero_label=False here, but True in the train data'),
    (reduced_by_mistake, r'reduce_zero_label=True takes 0 for "no class".* leave it out if 0 is'),
    (reduced_by_the_transform, r'train0\.png cannot be read \(.*reduce_zero_label'),
    (listed_with('train0\n\ntrain1\n'), r'train\.txt, line 2: a blank line.*: remove it'),
    (listed_with('train0\ntrain1\n\n'), r'train\.txt, line 3: a blank line.*: remove it'),
    (listed_with('train0.jpg\n'), r"line 1: 'train0\.jpg' has a suffix.*: write 'train0'"),
    (listed_with('train0.JPG\r\n'), r"line 1: 'train0\.JPG' has a suffix.*: write 'train0'"),
    (listed_with('\ufefftrain0\n'), r'line 1: begins with a byte order mark'),
    (listed_with('train0 train0\n'), r'line 1: .* has several columns'),
    (listed_with('train0\nother\n'), r'no image .*other\.jpg: add it, or take it out of .*train\.txt'),
    (listed_with(''), r'^train data: no image is left of .*train\.txt'),
    (damaged('train', 'images', lambda _: b''), r'train1\.jpg cannot be read \(the file is empty\)'),
    (damaged('train', 'images', lambda _: b'no image'), r'train1\.jpg .*it is text, not an image'),
    (damaged('val', 'images', lambda b: b[: len(b) // 2]), r'val1\.jpg .*is cut off.*: copy or export'),
    (damaged('val', 'masks', lambda b: b[: len(b) // 2]), r'val1\.png cannot be read .it is cut off'),
    (damaged('val', 'masks', lambda _: b''), r'val1\.png cannot be read \(the file is empty\)'),
    (damaged('val', 'masks', lambda b: b'\0' * 99), r'val1\.png cannot be read \(no image of a known'),
    (four_channels, r'train0\.png is loaded with 4 channels, the model takes 3 \(and 5 more\): set color'),
    (model_of_four_channels, r'train0\.jpg is loaded with 3 channels, the model takes 4'),
    (in_a_wrapper(missing_mask), r'^train data: no mask .*train2\.png of'),
    (in_a_wrapper(white_masks), r'^train data: .*0 -> 0, 255 -> 1$'),
    (dataset_that_does_not_exist, r'^train data: NoDataset cannot be built: KeyError: .*NoDataset'),
]  # fmt: skip


def named(cases: list) -> list:
    return [pytest.param(*case, id=f'{i}-{case[0].__name__}') for i, case in enumerate(cases)]


@pytest.mark.parametrize(('fault', 'words'), named(ERRORS))
def test_error(root: Path, cfg: Config, fault: Fault, words: str) -> None:
    fault(root, cfg)
    with pytest.raises(DatasetError) as error:
        check_samples(cfg, 'train', 'val')
    lines = str(error.value).splitlines()
    assert any(re.search(words, line) for line in lines), lines
    assert len(lines) <= 2  # one a split


def palette_masks(root: Path, cfg: Config) -> None:
    for path in masks(root):
        palette = Image.fromarray(np.array(Image.open(path)), mode='P')
        palette.putpalette([0, 0, 0, 255, 0, 0])
        palette.save(path)


def crlf(root: Path, cfg: Config) -> None:
    listed_with('train0\r\ntrain1\r\ntrain2')(root, cfg)


def ends_of_lines_of_old(root: Path, cfg: Config) -> None:
    listed_with('train0\rtrain1\r')(root, cfg)


def bilevel_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels > 0)


def photos_turned_as_their_masks(root: Path, cfg: Config) -> None:
    turned_photos(root, cfg)
    recode(masks(root, 'train'), np.rot90)


def photos_as_stored(root: Path, cfg: Config) -> None:
    turned_photos(root, cfg)
    cfg.train_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'


def film_behind_a_photo(root: Path, cfg: Config) -> None:
    for path in images(root):
        path.write_bytes(path.read_bytes() + b'film' * 5000)


def grey_photos(root: Path, cfg: Config) -> None:
    recode(images(root), lambda image: image[..., 0])


def void_pixels(root: Path, cfg: Config) -> None:
    def change(labels: np.ndarray) -> np.ndarray:
        labels[:3] = 255
        return labels

    recode(masks(root), change)


def no_masks_where_none_are_read(root: Path, cfg: Config) -> None:
    shutil.rmtree(root / 'masks/val')
    del cfg.val_dataloader.dataset.pipeline[1]


def some_reduced_alike(root: Path, cfg: Config) -> None:
    zero_for_none(root, cfg)
    both(cfg, reduce_zero_label=True)


def nothing(root: Path, cfg: Config) -> None:
    pass


@pytest.mark.parametrize(
    'change',
    [
        nothing, palette_masks, crlf, ends_of_lines_of_old, bilevel_masks, photos_turned_as_their_masks, photos_as_stored,
        film_behind_a_photo, grey_photos, void_pixels, no_masks_where_none_are_read,
        some_reduced_alike, in_a_wrapper(nothing),
    ],
)  # fmt: skip
def test_right_sets_pass(root: Path, cfg: Config, change: Fault, capsys) -> None:
    change(root, cfg)
    check_samples(cfg, 'train', 'val')
    assert capsys.readouterr().err == ''
    assert not [r for r in look_at_data(cfg, 'train', 'val', whole=True) if r.groups]


WARNINGS = [
    (some_capital_suffixes, r'images/train/train0\.JPG is not read \(and 1 more\): img_suffix='),
    (jpeg_beside_jpg, r'^warning: val data: .*val0\.jpeg is not read: '),
    (upside_down_photos, r'train0\.jpg is turned by its EXIF tag \(3\).*browse_dataset'),
    (deep_masks_of_small_values, r'train0\.png is a mask of 16 bits, whose values fit into 8'),
    (black_masks_in_val, r"class 'crack' never occurs in the 3 masks read, whose values are 0: "),
    (one_ignored_mask, r'train0\.png has no pixel of any class, only 255: '),
    (third_class, r"class 'rust' never occurs in the 6 masks read, whose values are 0, 1: "),
    (listed_with('train0\ntrain1\ntrain0\n'), r"line 3: 'train0' stands in line 1, too"),
    (deep_images, r"train0\.png has more than 8 bits .*color_type='unchanged'"),
    (same_images, r'^warning: val data: 6 of 6 images are in the train data, too: .*train0\.jpg'),
    (copied_images, r'^warning: val data: 1 of 4 images are in the train data, too: .*val/train0'),
]


@pytest.mark.parametrize(('fault', 'words'), named(WARNINGS))
def test_warning(root: Path, cfg: Config, fault: Fault, words: str, capsys) -> None:
    fault(root, cfg)
    check_samples(cfg, 'train', 'val')
    lines = capsys.readouterr().err.splitlines()
    assert any(re.search(words, line) for line in lines), lines
    assert len(lines) <= 2
