"""What can be wrong with images, lists and the config, and what is odd but right."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from faulty_masks import missing_mask, white_masks
from mmengine.config import Config
from PIL import Image
from spoiling import (
    ERRORS,
    RIGHT,
    WARNINGS,
    both,
    damaged,
    error,
    images,
    in_a_wrapper,
    listed_with,
    masks,
    recode,
    rename,
    right,
    warning,
)


@error(r"no image .*images/train/\*\.png: set img_suffix='\.jpg', ")
def no_images_of_that_suffix(root: Path, cfg: Config) -> None:
    both(cfg, img_suffix='.png')


@error(r"no image .*images/train/\*\.jpg: set img_suffix='\.JPG', which fits 6")
def capital_suffix(root: Path, cfg: Config) -> None:
    rename(images(root), lambda name: name.replace('.jpg', '.JPG'))


@warning(r'images/train/train0\.JPG is not read \(and 1 more\): img_suffix=')
def some_capital_suffixes(root: Path, cfg: Config) -> None:
    rename(images(root, 'train')[:2], lambda name: name.replace('.jpg', '.JPG'))
    rename(masks(root, 'train')[:1], str)


@warning(r'^warning: val data: .*val0\.jpeg is not read: ')
def jpeg_beside_jpg(root: Path, cfg: Config) -> None:
    rename(images(root, 'val')[:1], lambda name: name.replace('.jpg', '.jpeg'))


@error(r'but 6 in .*images/train: are .*img_path and .*seg_map_path swapped\?')
def swapped_folders(root: Path, cfg: Config) -> None:
    prefix = cfg.train_dataloader.dataset.data_prefix
    prefix.img_path, prefix.seg_map_path = prefix.seg_map_path, prefix.img_path


@error(r'img_path and data_prefix\.seg_map_path swapped\?')
def swapped_folders_of_one_suffix(root: Path, cfg: Config) -> None:
    for path in images(root):
        Image.open(path).save(path.with_suffix('.png'))
        path.unlink()
    both(cfg, img_suffix='.png')
    swapped_folders(root, cfg)


@error(r"is 96x72, its image .* 72x96 as .* EXIF .*color_type='color_ignore_orient")
def turned_photos(root: Path, cfg: Config) -> None:
    """Stored lying, with a tag that asks to turn them; the masks fit what is stored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    recode(images(root, 'train'), lambda image: image, exif=exif)


@warning(r'train0\.jpg is \w+ by its EXIF tag \(3\).*browse_dataset')
def upside_down_photos(root: Path, cfg: Config) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    recode(images(root, 'train'), lambda image: image, exif=exif)


@error(r'train0\.png is loaded with 4 channels, the model takes 3 \(and 5 ')
def four_channels(root: Path, cfg: Config) -> None:
    for path in images(root):
        Image.open(path).convert('RGBA').save(path.with_suffix('.png'))
        path.unlink()
    both(cfg, img_suffix='.png')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.pipeline[0].color_type = 'unchanged'


@error(r'train0\.jpg is loaded with 3 channels, the model takes 4')
def model_of_four_channels(root: Path, cfg: Config) -> None:
    cfg.model.backbone.in_channels = 4


@warning(r"train0\.png has more than 8 bits .*color_type='unchanged'")
def deep_images(root: Path, cfg: Config) -> None:
    for path in images(root):
        grey = np.array(Image.open(path).convert('L')).astype(np.uint16) * 16
        Image.fromarray(grey).save(path.with_suffix('.png'))
        path.unlink()
    both(cfg, img_suffix='.png')


@warning(r'^warning: val data: 6 of 6 images are .*in the train data.*: .*train0\.jpg')
def same_images(root: Path, cfg: Config) -> None:
    cfg.val_dataloader.dataset.data_prefix = cfg.train_dataloader.dataset.data_prefix


@warning(r'^warning: val data: 1 of 4 images are .*in the train data.*: .*val/train0')
def copied_images(root: Path, cfg: Config) -> None:
    for kind, suffix in (('images', 'jpg'), ('masks', 'png')):
        name = f'train0.{suffix}'
        shutil.copy(root / kind / 'train' / name, root / kind / 'val' / name)


@error(r'^train data: NoDataset cannot be built: KeyError: .*NoDataset')
def dataset_that_does_not_exist(root: Path, cfg: Config) -> None:
    cfg.train_dataloader.dataset.type = 'NoDataset'


@right
def crlf(root: Path, cfg: Config) -> None:
    listed_with('train0\r\ntrain1\r\ntrain2')(root, cfg)


@right
def ends_of_lines_of_old(root: Path, cfg: Config) -> None:
    listed_with('train0\rtrain1\r')(root, cfg)


@right
def photos_turned_as_their_masks(root: Path, cfg: Config) -> None:
    turned_photos(root, cfg)
    recode(masks(root, 'train'), np.rot90)


@right
def photos_as_stored(root: Path, cfg: Config) -> None:
    turned_photos(root, cfg)
    cfg.train_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'


@right
def film_behind_a_photo(root: Path, cfg: Config) -> None:
    for path in images(root):
        path.write_bytes(path.read_bytes() + b'film' * 5000)


@right
def grey_photos(root: Path, cfg: Config) -> None:
    recode(images(root), lambda image: image[..., 0])


@right
def nothing(root: Path, cfg: Config) -> None:
    pass


@error(r'^train data: metainfo has 2 classes and a palette of 3 .*_delete_')
def palette_of_the_base(root: Path, cfg: Config) -> None:
    both(cfg, metainfo=dict(classes=('road', 'sky'), palette=[[0, 0, 0]] * 3))


@error(r"^train data: metainfo\.classes='names\.txt': no such file")
def classes_of_a_missing_file(root: Path, cfg: Config) -> None:
    both(cfg, metainfo=dict(classes='names.txt'))


@error(r'^train data: .*train\.txt is no.* UTF-8')
def list_of_windows(root: Path, cfg: Config) -> None:
    (root / 'train.txt').write_bytes('train0'.encode('utf-16'))
    cfg.train_dataloader.dataset.ann_file = 'train.txt'


ERRORS += [
    (listed_with('train0\n\ntrain1\n'), r'train\.txt, line 2: a blank line.*: remove it'),
    (listed_with('train0\ntrain1\n\n'), r'train\.txt, line 3: a blank line.*: remove it'),
    (listed_with('train0.jpg\n'), r"line 1: 'train0\.jpg' has a suffix.*: write 'train0'"),
    (listed_with('train0.JPG\r\n'), r"line 1: 'train0\.JPG' has a suffix.*: write 'train0'"),
    (listed_with('\ufefftrain0\n'), r'line 1: begins with a byte order mark'),
    (listed_with('train0 train0\n'), r'line 1: .* has several columns'),
    (listed_with('train0\nother\n'), r'no image .*other\.jpg: add it, or take it out of .*\.txt'),
    (listed_with(''), r'^train data: no image is left of .*train\.txt'),
    (damaged('train', 'images', lambda _: b''), r'train1\.jpg cannot be read \(the file is em'),
    (damaged('train', 'images', lambda _: b'no image'), r'train1\.jpg .*it is text, not an image'),
    (damaged('val', 'images', lambda b: b[:len(b) // 2]), r'val1\.jpg .*is cut off.*: copy '),
    (damaged('val', 'masks', lambda b: b[:len(b) // 2]), r'val1\.png cannot be .*it is cut off'),
    (damaged('val', 'masks', lambda _: b''), r'val1\.png cannot be read \(the file is empty\)'),
    (damaged('val', 'masks', lambda b: b'\x00' * 99), r'val1\.png .* \(no image of a known'),
    (in_a_wrapper(missing_mask), r'^train data: no mask .*train2\.png of'),
    (in_a_wrapper(white_masks), r'^train data: .*0 -> 0, 255 -> 1$'),
    (listed_with('images/train/train0.jpg masks/train/train0.png\n'), r'has several columns.*: wr'),
    (listed_with('images/train/train0.jpg\n'), r"has a suffix, .*: write 'train0'$"),
    (listed_with('images/train/train0\n'), r"names folders, and .*images/train.*: write 'train0'$"),
]  # fmt: skip
WARNINGS += [
    (listed_with('train0\ntrain1\ntrain0\n'), r"line 3: 'train0' .* line 1"),
]
RIGHT.append(in_a_wrapper(nothing))
