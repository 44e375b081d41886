"""What can be wrong with a set of images and masks, and what is odd but right.

Each function takes the folder and the config of a right set and changes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

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


# right sets


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


def void_beside_classes(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: np.where(np.arange(labels.shape[1]) < 9, 255, labels))
    cfg.model.decode_head.ignore_index = 0


def labels_of_no_image(root: Path, cfg: Config) -> None:
    for file in masks(root):
        file.rename(file.with_suffix('.json'))


def palette_of_the_base(root: Path, cfg: Config) -> None:
    both(cfg, metainfo=dict(classes=('road', 'sky'), palette=[[0, 0, 0]] * 3))


def classes_of_a_missing_file(root: Path, cfg: Config) -> None:
    both(cfg, metainfo=dict(classes='names.txt'))


def list_of_windows(root: Path, cfg: Config) -> None:
    (root / 'train.txt').write_bytes('train0'.encode('utf-16'))
    cfg.train_dataloader.dataset.ann_file = 'train.txt'
