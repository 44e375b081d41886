"""Every fault of a data set is named before the run: file, value and fix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from faulty_data import (
    Fault,
    bilevel_masks,
    black_masks,
    black_masks_in_val,
    capital_masks,
    capital_suffix,
    classes_of_a_missing_file,
    colour_masks,
    copied_images,
    crlf,
    damaged,
    dataset_that_does_not_exist,
    deep_images,
    deep_masks,
    deep_masks_of_small_values,
    ends_of_lines_of_old,
    film_behind_a_photo,
    four_channels,
    grey_levels,
    grey_masks_of_three_channels,
    grey_photos,
    in_a_wrapper,
    jpeg_beside_jpg,
    labels_of_no_image,
    list_of_windows,
    listed_with,
    lossy_masks,
    masks_named_otherwise,
    masks_of_another_name,
    masks_with_alpha,
    missing_mask,
    missing_mask_in_val,
    model_of_four_channels,
    no_images_of_that_suffix,
    no_mask_folder,
    no_masks_where_none_are_read,
    nothing,
    one_ignored_mask,
    one_wrong_value,
    only_ignored_masks,
    other_ignore_index,
    palette_masks,
    palette_masks_read_as_colours,
    palette_of_the_base,
    photos_as_stored,
    photos_turned_as_their_masks,
    reduced_by_mistake,
    reduced_by_the_transform,
    reduced_in_train,
    same_images,
    smaller_masks,
    some_capital_suffixes,
    some_reduced_alike,
    swapped_folders,
    swapped_folders_of_one_suffix,
    third_class,
    turned_photos,
    upside_down_photos,
    values_from_one,
    void_beside_classes,
    void_pixels,
    white_masks,
    white_masks_in_val,
    zero_for_none,
)
from mmengine.config import Config

from vil_mm.datasets import DatasetError
from vil_mm.runs.data import check_samples, look_at_data

ERRORS = [
    (no_images_of_that_suffix, r"no image .*images/train/\*\.png: set img_suffix='\.jpg', "),
    (capital_suffix, r"no image .*images/train/\*\.jpg: set img_suffix='\.JPG', which fits 6"),
    (swapped_folders, r'but 6 in .*images/train: are .*img_path and .*seg_map_path swapped\?'),
    (swapped_folders_of_one_suffix, r'img_path and data_prefix\.seg_map_path swapped\?'),
    (missing_mask, r'^train data: no mask .*train2\.png of .*train2\.jpg: add the mask'),
    (missing_mask_in_val, r'^val data: no mask .*val0\.png of .*val0\.jpg \(and 1 more\): add'),
    (masks_named_otherwise, r"no mask .* \(and 5 more\): set seg_map_suffix='_mask\.png'.* 6 of 6"),
    (masks_of_another_name, r'the same name as its image .* are mask_train0\.png, .*: rename'),
    (capital_masks, r"set seg_map_suffix='\.PNG', which fits 6 of 6"),
    (no_mask_folder, r'set data_prefix\.seg_map_path'),
    (smaller_masks, r'train0\.png is 48x36, its image .*0\.jpg 96x72 \(and 5 more\): save'),
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
    (white_masks, r"^train data: class 'background' alone .* are 0, 255: .*0 -> 0, 255 -> 1$"),
    (white_masks_in_val, r"^val data: class 'background' alone .* 3 masks read.* 255 -> 1$"),
    (black_masks, r"class 'background' alone occurs in the 6 masks read of .* values are 0: "),
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
    (listed_with('train0\nother\n'), r'no image .*other\.jpg: add it, or take it out of .*\.txt'),
    (listed_with(''), r'^train data: no image is left of .*train\.txt'),
    (damaged('train', 'images', lambda _: b''), r'train1\.jpg cannot be read \(the file is em'),
    (damaged('train', 'images', lambda _: b'no image'), r'train1\.jpg .*it is text, not an image'),
    (damaged('val', 'images', lambda b: b[: len(b) // 2]), r'val1\.jpg .*is cut off.*: copy '),
    (damaged('val', 'masks', lambda b: b[: len(b) // 2]), r'val1\.png cannot be .*it is cut off'),
    (damaged('val', 'masks', lambda _: b''), r'val1\.png cannot be read \(the file is empty\)'),
    (damaged('val', 'masks', lambda b: b'\0' * 99), r'val1\.png .* \(no image of a known'),
    (four_channels, r'train0\.png is loaded with 4 channels, the model takes 3 \(and 5 '),
    (model_of_four_channels, r'train0\.jpg is loaded with 3 channels, the model takes 4'),
    (in_a_wrapper(missing_mask), r'^train data: no mask .*train2\.png of'),
    (in_a_wrapper(white_masks), r'^train data: .*0 -> 0, 255 -> 1$'),
    (listed_with('images/train/train0.jpg masks/train/train0.png\n'), r'has several columns.*: wr'),
    (listed_with('images/train/train0.jpg\n'), r"has a suffix, .*: write 'train0'$"),
    (listed_with('images/train/train0\n'), r"names folders, and .*images/train.*: write 'train0'$"),
    (list_of_windows, r'^train data: .*train\.txt is no text in UTF-8'),
    (labels_of_no_image, r'masks/train has \*\.json: save masks as PNG'),
    (void_beside_classes, r'holds the value 255, .*"no class"\? Then set ignore_index=255 of'),
    (palette_of_the_base, r'^train data: metainfo has 2 classes and a palette of 3 .*_delete_'),
    (classes_of_a_missing_file, r"^train data: metainfo\.classes='names\.txt': no such file"),
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


@pytest.mark.parametrize(
    'change',
    [
        nothing, palette_masks, crlf, ends_of_lines_of_old, bilevel_masks,
        photos_turned_as_their_masks, photos_as_stored,
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
    (upside_down_photos, r'train0\.jpg is rotated by its EXIF tag \(3\).*browse_dataset'),
    (deep_masks_of_small_values, r'train0\.png is a mask of 16 bits, whose values fit into 8'),
    (
        black_masks_in_val,
        r"class 'crack' never occurs in the 3 masks .* values are 0: ",
    ),
    (one_ignored_mask, r'train0\.png has no pixel of any class, only 255: '),
    (third_class, r"class 'rust' never occurs in the 6 masks read of .*, whose values are 0, 1: "),
    (listed_with('train0\ntrain1\ntrain0\n'), r"line 3: 'train0' is also on line 1"),
    (deep_images, r"train0\.png has more than 8 bits .*color_type='unchanged'"),
    (same_images, r'^warning: val data: 6 of 6 images are also in the train data: .*train0\.jpg'),
    (copied_images, r'^warning: val data: 1 of 4 images are also in the train data: .*val/train0'),
]


@pytest.mark.parametrize(('fault', 'words'), named(WARNINGS))
def test_warning(root: Path, cfg: Config, fault: Fault, words: str, capsys) -> None:
    fault(root, cfg)
    check_samples(cfg, 'train', 'val')
    lines = capsys.readouterr().err.splitlines()
    assert any(re.search(words, line) for line in lines), lines
    assert len(lines) <= 2
