"""Data sets of folders named by wnid, made of empty files: nothing here opens an image."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mmengine.registry import DATASETS, init_default_scope

from vil_mm.datasets import (
    CORRUPTIONS,
    DatasetError,
    ImageNetC,
    ImageNetFolders,
    imagenet_wnids,
)

# what anyone knows of the classes: tench, goldfish, house finch, toilet tissue
KNOWN = {'n01440764': 0, 'n01443537': 1, 'n01532829': 12, 'n15075141': 999}


def make(root: Path, wnids, images: int = 1) -> Path:
    """Folders with so many empty files each."""
    for wnid in wnids:
        (root / wnid).mkdir(parents=True)
        for number in range(images):
            (root / wnid / f'{wnid}_{number}.JPEG').touch()
    return root


@pytest.fixture(scope='module')
def corrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('imagenet_c')
    for corruption in CORRUPTIONS:
        for severity in range(1, 6):
            make(root / corruption / str(severity), ['n01443537', 'n15075141'])
    return root


def test_wnids():
    wnids = imagenet_wnids()
    assert len(wnids) == 1000 and list(wnids) == sorted(set(wnids))
    assert {wnid: wnids.index(wnid) for wnid in KNOWN} == KNOWN
    assert all(len(wnid) == 9 and wnid[0] == 'n' and wnid[1:].isdigit() for wnid in wnids)


def test_wnids_and_mmpretrains_names_are_of_the_same_classes():
    """The classes of Imagenette, whose wnids and names are published side by side."""
    classes = dict(ImageNetFolders(lazy_init=True, data_root='.').metainfo)['classes']
    names = {
        'n01440764': 'tench', 'n02102040': 'English springer', 'n02979186': 'cassette player',
        'n03000684': 'chain saw', 'n03028079': 'church', 'n03394916': 'French horn',
        'n03417042': 'garbage truck', 'n03425413': 'gas pump', 'n03445777': 'golf ball',
        'n03888257': 'parachute',
    }  # fmt: skip
    for wnid, name in names.items():
        found = classes[imagenet_wnids().index(wnid)].lower()
        assert name.lower().replace(' ', '') in found.replace(' ', ''), (wnid, found)


def test_labels_do_not_depend_on_the_folders_beside(tmp_path):
    dataset = ImageNetFolders(data_root=str(make(tmp_path, KNOWN, images=2)))
    assert len(dataset) == 8
    for place in range(len(dataset)):
        info = dataset.get_data_info(place)
        assert info['gt_label'] == KNOWN[Path(info['img_path']).parent.name]
        assert Path(info['img_path']).is_file()
    assert dataset.metainfo['class_indices'] == (0, 1, 12, 999)
    assert len(dataset.metainfo['classes']) == 1000
    (tmp_path / 'README.txt').touch()  # as ImageNet-A and -R bring one
    assert len(ImageNetFolders(data_root=str(tmp_path), num_folders=4)) == 8


def test_data_prefix_and_config(tmp_path):
    make(tmp_path / 'sketch', KNOWN)
    init_default_scope('mmpretrain')
    cfg = dict(type='ImageNetFolders', data_root=str(tmp_path), data_prefix='sketch')
    dataset = DATASETS.build(cfg)
    assert type(dataset) is ImageNetFolders and len(dataset) == 4


def test_first_classes(tmp_path):
    wnids = imagenet_wnids()
    make(tmp_path, wnids[:105])
    dataset = ImageNetFolders(data_root=str(tmp_path), first_classes=100)
    assert sorted(set(dataset.get_gt_labels())) == list(range(100))
    assert dataset.metainfo['class_indices'] == tuple(range(100))
    assert len(dataset.metainfo['classes']) == 100
    shutil.rmtree(tmp_path / wnids[7])
    with pytest.raises(DatasetError, match=f'99 folders of classes, expected 100.*{wnids[7]}'):
        ImageNetFolders(data_root=str(tmp_path), first_classes=100)


@pytest.mark.parametrize(('expected', 'why'), [(200, 'another set'), (3, 'incomplete')])
def test_number_of_folders(tmp_path, expected, why):
    make(tmp_path, KNOWN)
    with pytest.raises(DatasetError, match=f'4 folders of classes, expected {expected}: .*{why}'):
        ImageNetFolders(data_root=str(tmp_path), num_folders=expected)


def test_missing_classes_are_named_where_all_have_to_be_there(tmp_path):
    make(tmp_path, imagenet_wnids()[3:])
    names = ', '.join(imagenet_wnids()[:3])
    with pytest.raises(
        ValueError, match=f'997 folders of classes, expected 1000; missing: {names}'
    ):
        ImageNetFolders(data_root=str(tmp_path), num_folders=1000)


def test_other_folders_are_refused_by_name(tmp_path):
    make(tmp_path, [*KNOWN, 'tench', 'n99999999'])
    with pytest.raises(DatasetError, match='not classes of ImageNet-1K: n99999999, tench;'):
        ImageNetFolders(data_root=str(tmp_path))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r'no folder .*imagenet-a.*docs/datasets\.md'):
        ImageNetFolders(data_root=str(tmp_path / 'imagenet-a'))
    with pytest.raises(DatasetError, match=f'no image in {tmp_path}'):
        ImageNetFolders(data_root=str(tmp_path))


def test_a_folder_without_images_is_named(tmp_path):
    make(tmp_path, KNOWN)
    (tmp_path / 'n01532829' / 'n01532829_0.JPEG').unlink()
    with pytest.raises(DatasetError, match='no image in n01532829 of'):
        ImageNetFolders(data_root=str(tmp_path))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(ann_file='val.txt'), 'not from an ann_file'),
        (dict(num_folders=200, first_classes=100), 'not both'),
        (dict(first_classes=0), 'not for 0'),
        (dict(num_folders=1001), 'not for 1001'),
    ],
    ids=['ann_file', 'both', 'none', 'too_many'],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ImageNetFolders(data_root=str(tmp_path), **options)


def test_an_unknown_option_is_refused(tmp_path):
    with pytest.raises(TypeError, match='num_folder'):
        ImageNetFolders(data_root=str(make(tmp_path, KNOWN)), num_folder=4)


def test_corrupted_samples_say_how(corrupted):
    dataset = ImageNetC(data_root=str(corrupted), num_folders=2)
    assert len(CORRUPTIONS) == 19 and len(dataset) == 19 * 5 * 2
    seen = set()
    for place in range(len(dataset)):
        info = dataset.get_data_info(place)
        *_, corruption, severity, wnid, _ = Path(info['img_path']).parts
        assert (info['corruption'], info['severity']) == (corruption, int(severity))
        assert info['gt_label'] == KNOWN[wnid] and Path(info['img_path']).is_file()
        seen.add((corruption, severity))
    assert len(seen) == 95
    assert dataset.metainfo['class_indices'] == (1, 999)


def test_some_corruptions(corrupted):
    dataset = ImageNetC(data_root=str(corrupted), corruptions=('fog', 'snow'))
    assert len(dataset) == 20
    with pytest.raises(ValueError, match=r"unknown corruptions \['fogg'\]: expected some of .*fog"):
        ImageNetC(data_root=str(corrupted), corruptions=('fogg',))


def test_missing_parts_of_imagenet_c_are_named(corrupted, tmp_path):
    root = tmp_path / 'copy'
    shutil.copytree(corrupted, root)
    shutil.rmtree(root / 'fog' / '3')
    with pytest.raises(DatasetError, match=r'1 of 95 parts.*fog/3; expected'):
        ImageNetC(data_root=str(root))
    shutil.rmtree(root / 'spatter')
    with pytest.raises(DatasetError, match=r'6 of 95 parts.*fog/3.*and 1 more'):
        ImageNetC(data_root=str(root))
    with pytest.raises(
        DatasetError, match=r'gaussian_noise/1 has 2 folders of classes, expected 9'
    ):
        ImageNetC(data_root=str(corrupted), num_folders=9)


def test_registered():
    assert DATASETS.get('ImageNetFolders') is ImageNetFolders
    assert DATASETS.get('ImageNetC') is ImageNetC
