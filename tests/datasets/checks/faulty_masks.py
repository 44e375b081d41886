"""What can be wrong with masks, and what is odd but right."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image
from spoiling import (
    both,
    error,
    masks,
    recode,
    rename,
    right,
    warning,
)


@error(r'^train data: no mask .*train2\.png of .*train2\.jpg: add the mask')
def missing_mask(root: Path, cfg: Config) -> None:
    masks(root, 'train')[2].unlink()


@error(r'^val data: no mask .*val0\.png of .*val0\.jpg \(and 1 more\): add')
def missing_mask_in_val(root: Path, cfg: Config) -> None:
    masks(root, 'val')[0].unlink()
    masks(root, 'val')[0].unlink()


@error(r"no mask .* \(and 5 more\): set seg_map_suffix='_mask\.png'.* 6 of 6")
def masks_named_otherwise(root: Path, cfg: Config) -> None:
    rename(masks(root), lambda name: name.replace('.png', '_mask.png'))


@error(r'the same name as its image .* are mask_train0\.png, .*: rename')
def masks_of_another_name(root: Path, cfg: Config) -> None:
    rename(masks(root), lambda name: f'mask_{name}')


@error(r"set seg_map_suffix='\.PNG', which fits 6 of 6")
def capital_masks(root: Path, cfg: Config) -> None:
    rename(masks(root), lambda name: name.replace('.png', '.PNG'))


@error(r'set data_prefix\.seg_map_path')
def no_mask_folder(root: Path, cfg: Config) -> None:
    cfg.train_dataloader.dataset.data_prefix.pop('seg_map_path')


@error(r'train0\.png is 48x36, its image .*0\.jpg 96x72 \(and 5 more\): save')
def smaller_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels[::2, ::2])


@error(r'train0\.png has 3 channels and 2 colours.*replace each colour by the number')
def colour_masks(root: Path, cfg: Config) -> None:
    colours = np.array([[0, 0, 0], [128, 0, 0]], np.uint8)
    recode(masks(root), lambda labels: colours[labels])


@error(r'has 3 channels.* all its channels are equal: keep one')
def grey_masks_of_three_channels(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: np.stack([labels] * 3, axis=2))


@error(r'has 2 channels.* all its channels are equal: keep one')
def masks_with_alpha(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: np.stack([labels, labels * 0 + 255], axis=2))


@error(r'has 3 channels and 2 colours')
def palette_masks_read_as_colours(root: Path, cfg: Config) -> None:
    palette_masks(root, cfg)
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.pipeline[1].imdecode_backend = 'cv2'


@error(r'has values of more than 8 bits \(uint16, 0 to 65535\).*PNG of 8 bits')
def deep_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels.astype(np.uint16) * 65535)


@warning(r'train0\.png is a mask of 16 bits, whose values fit into 8')
def deep_masks_of_small_values(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels.astype(np.uint16))


@error(r'^val data: .*val1\.png holds the value 7, expected 0 to 1, or 255 ')
def one_wrong_value(root: Path, cfg: Config) -> None:
    recode(masks(root, 'val')[1:2], lambda labels: labels * 7)


@error(r'holds the value 2, .*: they count from 1: set reduce_zero_label=True')
def values_from_one(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels + 1)


@error(r'holds the value 2, .*if 0 means "no class" set reduce_zero_label=True')
def zero_for_none(root: Path, cfg: Config) -> None:
    def change(labels: np.ndarray) -> np.ndarray:
        labels = labels + 1
        labels[:5] = 0
        return labels

    recode(masks(root), change)


@error(r'holds the value 128.*levels of grey: recode them, 0 -> 0, 128 -> 1$')
def grey_levels(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels * 128)


@error(r"^train data: class 'background' alone .* are 0, 255: .*0 -> 0, 255 -> 1$")
def white_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels * 255)


@error(r"^val data: class 'background' alone .* 3 masks read.* 255 -> 1$")
def white_masks_in_val(root: Path, cfg: Config) -> None:
    recode(masks(root, 'val'), lambda labels: labels * 255)


@error(r"class 'background' alone occurs in the 6 masks read of .* values are 0: ")
def black_masks(root: Path, cfg: Config) -> None:
    recode(masks(root, 'train'), lambda labels: labels * 0)


@warning(r"class 'crack' never occurs in the 3 masks .* values are 0: ")
def black_masks_in_val(root: Path, cfg: Config) -> None:
    recode(masks(root, 'val'), lambda labels: labels * 0)


@warning(r'train0\.png has no pixel of any class, only 255: ')
def one_ignored_mask(root: Path, cfg: Config) -> None:
    recode(masks(root, 'train')[:1], lambda labels: labels * 0 + 255)


@error(r'no class alone|no class occurs in the 6 masks read')
def only_ignored_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels * 0 + 255)


@warning(r"class 'rust' never occurs in the 6 masks read of .*, whose values are 0, 1: ")
def third_class(root: Path, cfg: Config) -> None:
    both(cfg, metainfo=dict(classes=('background', 'crack', 'rust'), palette=[[0] * 3] * 3))


@error(r'holds the values .*JPEG changes values: save masks as PNG')
def lossy_masks(root: Path, cfg: Config) -> None:
    for path in masks(root):
        Image.open(path).point(lambda value: value * 255).save(path.with_suffix('.jpg'))
        path.unlink()
    both(cfg, seg_map_suffix='.jpg')


@error(r'holds the value 255, expected 0 to 1, or 254 where there is no class')
def other_ignore_index(root: Path, cfg: Config) -> None:
    one_ignored_mask(root, cfg)
    cfg.model.decode_head.ignore_index = 254


@error(r'^val data: reduce_zero_label=False here, but True in the train data')
def reduced_in_train(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels + 1)
    cfg.train_dataloader.dataset.reduce_zero_label = True


@error(r'reduce_zero_label=True takes 0 for "no class".* leave it out if 0 is')
def reduced_by_mistake(root: Path, cfg: Config) -> None:
    both(cfg, reduce_zero_label=True)


@error(r'train0\.png cannot be read \(.*reduce_zero_label')
def reduced_by_the_transform(root: Path, cfg: Config) -> None:
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = True


@right
def palette_masks(root: Path, cfg: Config) -> None:
    for path in masks(root):
        palette = Image.fromarray(np.array(Image.open(path)), mode='P')
        palette.putpalette([0, 0, 0, 255, 0, 0])
        palette.save(path)


@right
def bilevel_masks(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: labels > 0)


@right
def void_pixels(root: Path, cfg: Config) -> None:
    def change(labels: np.ndarray) -> np.ndarray:
        labels[:3] = 255
        return labels

    recode(masks(root), change)


@right
def no_masks_where_none_are_read(root: Path, cfg: Config) -> None:
    shutil.rmtree(root / 'masks/val')
    del cfg.val_dataloader.dataset.pipeline[1]


@right
def some_reduced_alike(root: Path, cfg: Config) -> None:
    zero_for_none(root, cfg)
    both(cfg, reduce_zero_label=True)


@error(r'holds the value 255, .*"no class"\? Then set ignore_index=255 of')
def void_beside_classes(root: Path, cfg: Config) -> None:
    recode(masks(root), lambda labels: np.where(np.arange(labels.shape[1]) < 9, 255, labels))
    cfg.model.decode_head.ignore_index = 0


@error(r'masks/train has \*\.json: save masks as PNG')
def labels_of_no_image(root: Path, cfg: Config) -> None:
    for file in masks(root):
        file.rename(file.with_suffix('.json'))
