"""Which mask belongs to which photo."""

from __future__ import annotations

from pathlib import Path

import pytest

from vil_mm.own_data.pairing import find_pairs


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ('photos', 'masks'),
    [
        (['a.jpg', 'b.jpg'], ['a.png', 'b.png']),
        (['A.JPG', 'b.jpeg'], ['a.PNG', 'B.tif']),
        (['IMG_1.jpg', 'IMG_2.jpg'], ['IMG_1_mask.png', 'IMG_2_mask.png']),
        (['IMG_1.jpg', 'IMG_2.jpg'], ['label_IMG_1.png', 'label_IMG_2.png']),
        (['image_001.jpg', 'image_002.jpg'], ['mask_001.png', 'mask_002.png']),
        (['21_training.tif', '22_training.tif'], ['21_manual1.gif', '22_manual1.gif']),
        (
            ['aachen_000000_000019_leftImg8bit.png', 'bonn_000001_000019_leftImg8bit.png'],
            ['aachen_000000_000019_gtFine_labelIds.png', 'bonn_000001_000019_gtFine_labelIds.png'],
        ),
        (['city a/x 1.jpg', 'city b/x 1.jpg'], ['city a/x 1_seg.png', 'city b/x 1_seg.png']),
        (['train/a.jpg', 'val/a.jpg'], ['training/a.png', 'validation/a.png']),
        (['scho\u0308n.jpg', 'gru\u0308n 1.jpg'], ['sch\u00f6n_mask.png', 'gr\u00fcn 1_mask.png']),
        (['day/a.jpg', 'night/b.jpg'], ['a.png', 'b.png']),
        (['a.jpg', 'b.jpg'], ['day/a_mask.png', 'night/b_mask.png']),
    ],
)
def test_pairs(tmp_path, photos, masks):
    found = find_pairs(touch(tmp_path / 'p', *photos), touch(tmp_path / 'm', *masks))
    got = {(x.image.name, x.mask.name, x.image.parent.name) for x in found.pairs}
    assert len(found.pairs) == len(photos) and not found.unpaired
    wanted = zip(photos, masks, strict=True)
    assert got == {
        (Path(p).name, Path(m).name, (tmp_path / 'p' / p).parent.name) for p, m in wanted
    }


def test_a_stray_file_does_not_hide_the_pattern(tmp_path):
    photos = touch(tmp_path / 'p', *(f'IMG_{i}.jpg' for i in range(10)), 'notes.txt', '._IMG_1.jpg')
    masks = touch(tmp_path / 'm', *(f'IMG_{i}_mask.png' for i in range(9)), 'legend.png')
    found = find_pairs(photos, masks)
    assert len(found.pairs) == 9
    assert [file.name for file in found.unpaired] == ['IMG_9.jpg', 'legend.png']


def test_masks_in_a_folder_of_the_photos(tmp_path):
    photos = touch(tmp_path / 'p', 'a.jpg', 'b.jpg', 'masks/a.png', 'masks/b.png')
    assert len(find_pairs(photos, photos / 'masks').pairs) == 2


def test_splits_are_noted(tmp_path):
    photos = touch(tmp_path / 'p', 'Train/a.jpg', 'valid/b.jpg')
    masks = touch(tmp_path / 'm', 'train/a.png', 'val/b.png')
    assert [pair.split for pair in find_pairs(photos, masks).pairs] == ['train', 'val']


@pytest.mark.parametrize(
    ('photos', 'masks', 'error', 'message'),
    [
        (['a.jpg'], ['b.png'], ValueError, 'no mask in .* has the name of a photo'),
        (['x/a.jpg', 'y/a.jpg'], ['a.png'], ValueError, r'photos such as x/a\.jpg, y/a\.jpg and'),
        (['a.jpg', 'a.png'], ['a.png'], ValueError, 'have the same name'),
        (['a.heic'], ['a.png'], FileNotFoundError, r'no image in .*there are \.heic'),
        (['.hidden.jpg'], ['a.png'], FileNotFoundError, 'it is empty'),
    ],
)
def test_refused(tmp_path, photos, masks, error, message):
    folders = touch(tmp_path / 'p', *photos), touch(tmp_path / 'm', *masks)
    with pytest.raises(error, match=message):
        find_pairs(*folders)


def test_one_folder_for_both(tmp_path):
    folder = touch(tmp_path / 'p', 'a.jpg', 'a.png')
    with pytest.raises(ValueError, match='put the masks into another folder'):
        find_pairs(folder, folder)
