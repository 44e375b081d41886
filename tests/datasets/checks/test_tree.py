"""Checking data sets on disk: small made-up trees, whole and damaged in every way."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vil_mm.datasets.checks import files, known_sets, tree
from vil_mm.datasets.checks.known_sets import KNOWN_SETS, find_set
from vil_mm.datasets.checks.tree import check_tree
from vil_mm.datasets.checks.tree_report import FIXES, NOTES, TreeReport

WIDTH, HEIGHT = 40, 30
IMAGE, LABEL = 'images/train/b.jpg', 'annotations/train/b.png'


def write_image(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def write_label(path: Path, *values: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, np.uint8), size[::-1])).save(path)


def write_pairs(root: Path, name: str, stems: tuple[str, ...], *values: int) -> None:
    layout = KNOWN_SETS[name]
    for split in layout.splits:
        folder = f'/{split.folders[0]}' if split.folders else ''
        for stem in stems:
            write_image(Path(f'{root}/{split.images}{folder}/{stem}{layout.image_suffixes[0]}'))
            write_label(
                Path(f'{root}/{split.annotations}{folder}/{stem}{layout.label_suffix}'), *values
            )


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A sound tree in the layout of CamVid, with three pairs in each split."""
    root = tmp_path / 'camvid'
    write_pairs(root, 'camvid', ('a', 'b', 'c'), 0, 10, 255)
    return root


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    root = tmp_path / 'cityscapes'
    write_pairs(root, 'cityscapes', ('x_000000_000019',), 0, 18, 255)
    return root


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Two classes with two images each in both splits."""
    root = tmp_path / 'imagenet'
    for split in ('train', 'val'):
        for wnid in ('n01440764', 'n01443537'):
            for index in range(2):
                write_image(root / split / wnid / f'{index}.JPEG')
    return root


def look(name: str, root: Path, *, any_count: bool = True, **options) -> TreeReport:
    return check_tree(name, root, workers=1, any_count=any_count, **options)


def found(report: TreeReport) -> dict[str, list[str]]:
    return {kind: group.names for kind, group in report.groups.items()}


@pytest.mark.parametrize('quick', (False, True))
@pytest.mark.parametrize('name', KNOWN_SETS)
def test_sound_trees(name: str, quick: bool, request, tmp_path) -> None:
    if name == 'ade20k':
        root = tmp_path
        write_pairs(root, name, ('a',), 0, 1, 150)
    else:
        root = request.getfixturevalue(name)
    report = look(name, root, quick=quick)
    assert report.groups == {}
    files = [path for path in root.rglob('*') if path.is_file()]
    assert report.num_read == sum(report.counts.values()) == len(files)
    assert 'no problems' in report.text()


def edit_file(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def save_as(path: Path, mode: str) -> None:
    Image.open(path).convert(mode).save(path)


DAMAGES = {
    'no annotation': (
        lambda root: (root / LABEL).unlink(),
        {'images without annotation': [IMAGE]},
    ),
    'no image': (
        lambda root: (root / IMAGE).unlink(),
        {'annotations without image': [LABEL]},
    ),
    'empty image': (lambda root: (root / IMAGE).write_bytes(b''), {'empty files': [IMAGE]}),
    'empty label': (lambda root: (root / LABEL).write_bytes(b''), {'empty files': [LABEL]}),
    'no image file': (
        lambda root: (root / IMAGE).write_text('<html>not found</html>'),
        {'unreadable files': [f'{IMAGE} (no known format)']},
    ),
    'small label': (
        lambda root: write_label(root / LABEL, 1, size=(WIDTH, HEIGHT - 1)),
        {'sizes': [f'{LABEL} (40x29, image 40x30)']},
    ),
    'turned image': (
        lambda root: write_image(root / IMAGE, (HEIGHT, WIDTH)),
        {'sizes': [f'{LABEL} (40x30, image 30x40)']},
    ),
    'palette': (lambda root: save_as(root / LABEL, 'P'), {'palette annotations': [LABEL]}),
    'colours': (
        lambda root: save_as(root / LABEL, 'RGB'),
        {'colour annotations': [f'{LABEL} (RGB)']},
    ),
    'one bit': (
        lambda root: save_as(root / LABEL, '1'),
        {'annotations not of 8 bits': [f'{LABEL} (1)']},
    ),
    'sixteen bits': (
        lambda root: Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(root / LABEL),
        {'annotations not of 8 bits': [f'{LABEL} (I;16)']},
    ),
    'link': (
        lambda root: (root / 'images/train/d.jpg').symlink_to('nowhere'),
        {'links that lead nowhere': ['images/train/d.jpg']},
    ),
    'folder in the folder': (
        lambda root: write_image(root / 'images/train/train/a.jpg'),
        {'unexpected folders': ['images/train/train']},
    ),
    'no folder': (
        lambda root: shutil.rmtree(root / 'images/val'),
        {
            'missing folders': ['images/val'],
            'annotations without image': [f'annotations/val/{stem}.png' for stem in 'abc'],
        },
    ),
}


@pytest.mark.parametrize('quick', (False, True))
@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged(damage: str, quick: bool, camvid) -> None:
    spoil, expected = DAMAGES[damage]
    spoil(camvid)
    report = look('camvid', camvid, quick=quick)
    assert found(report) == expected
    for kind in expected:
        assert f'  to fix: {report.fix(kind)}' in report.text()


@pytest.mark.parametrize('quick', (False, True))
@pytest.mark.parametrize('share', (0.3, 0.7, 0.98))
@pytest.mark.parametrize('name', (IMAGE, LABEL))
def test_truncated(name: str, share: float, quick: bool, camvid) -> None:
    if name == LABEL:  # noise, which leaves something to cut
        values = np.random.default_rng(0).integers(0, 11, (HEIGHT, WIDTH), np.uint8)
        Image.fromarray(values).save(camvid / name)
    edit_file(camvid / name, lambda content: content[: int(share * len(content))])
    (kind, names), *more = found(look('camvid', camvid, quick=quick)).items()
    assert kind == 'unreadable files' and names[0].startswith(name) and not more


def test_bytes_behind_the_end_are_taken(camvid) -> None:
    edit_file(camvid / IMAGE, lambda content: content + bytes(100))
    for quick in (False, True):
        assert look('camvid', camvid, quick=quick).groups == {}


def test_damage_inside_is_seen_by_decoding_only(camvid) -> None:
    edit_file(camvid / LABEL, lambda content: content[:45] + b'damage' + content[51:])
    assert 'unreadable files' in look('camvid', camvid).groups
    assert look('camvid', camvid, quick=True).groups == {}


@pytest.mark.parametrize(
    'name, value, words',
    (
        ('camvid', 11, 'SegNet'),
        ('ade20k', 151, 'ADEChallengeData2016.zip'),
        ('ade20k', 255, 'do not subtract 1'),
        ('cityscapes', 19, 'csCreateTrainIdLabelImgs'),
        ('cityscapes', 33, 'labelIds'),
    ),
)
def test_label_values(name: str, value: int, words: str, tmp_path) -> None:
    write_pairs(tmp_path, name, ('a', 'b'), 0, 5, value)
    report = look(name, tmp_path)
    (group,) = report.groups.values()
    assert set(report.groups) == {'label values'} and group.count == 4
    assert group.names[0].endswith(f'({value})') and words in report.fix('label values')
    assert look(name, tmp_path, quick=True).groups == {}


def test_many_wrong_values_are_shortened(camvid) -> None:
    write_label(camvid / LABEL, *range(256))
    assert found(look('camvid', camvid)) == {'label values': [f'{LABEL} (11, 12, 13, 14, 15, ...)']}


def test_counts(camvid) -> None:
    report = look('camvid', camvid, any_count=False)
    assert found(report) == {
        'wrong numbers of files': [
            'images/train: 3, expected 367',
            'annotations/train: 3, expected 367',
            'images/val: 3, expected 101',
            'annotations/val: 3, expected 101',
        ]
    }
    assert '--any-count' in report.text()


def test_counts_that_are_right(camvid, monkeypatch) -> None:
    splits = [dataclasses.replace(split, count=3) for split in KNOWN_SETS['camvid'].splits]
    layout = dataclasses.replace(KNOWN_SETS['camvid'], splits=tuple(splits))
    monkeypatch.setitem(known_sets.KNOWN_SETS, 'camvid', layout)
    assert look('camvid', camvid, any_count=False).groups == {}


def test_a_set_without_files_is_none_of_any_count(camvid) -> None:
    for path in (camvid / 'images/val').iterdir():
        path.rename(path.with_suffix('.png'))  # as SegNet has them
    groups = found(look('camvid', camvid))
    assert groups['wrong numbers of files'] == ['images/val: 0, expected some']
    assert groups['other files'] == [f'images/val/{stem}.png' for stem in 'abc']


def test_groups_show_the_first_names(camvid) -> None:
    for index in range(8):
        write_image(camvid / f'images/train/d{index}.jpg')
    report = look('camvid', camvid)
    group = report.groups['images without annotation']
    assert group.count == 8
    assert group.names == [f'images/train/d{index}.jpg' for index in range(5)]
    assert 'images without annotation: 8' in report.text() and 'and 3 more' in report.text()


def test_stray_files_are_no_problem(camvid) -> None:
    for name in ('.DS_Store', '._b.jpg', 'Thumbs.db', 'd.JPG'):
        (camvid / 'images/train' / name).write_text('stray')
    report = look('camvid', camvid)
    assert report.groups['other files'].count == 4 and report.problems == {}
    assert 'note: other files: 4' in report.text() and 'no problems' in report.text()


def test_links_are_followed(camvid, tmp_path) -> None:
    elsewhere = tmp_path / 'elsewhere'
    (camvid / 'images').rename(elsewhere)
    (camvid / 'images').symlink_to(elsewhere)
    (elsewhere / 'train/b.jpg').rename(tmp_path / 'far.jpg')
    (camvid / IMAGE).symlink_to(tmp_path / 'far.jpg')
    link = tmp_path / 'link'
    link.symlink_to(camvid)
    report = look('camvid', link)
    assert report.groups == {} and report.num_read == 12


@pytest.mark.parametrize('given', ('..', '../..', 'images', 'images/train'))
def test_wrong_nesting(given: str, tmp_path) -> None:
    root = tmp_path / 'outer' / 'camvid'
    write_pairs(root, 'camvid', ('a',), 0)
    (root.parent / 'other').mkdir()
    report = look('camvid', (root / given).resolve())
    (name,) = report.problems['wrong folder'].names
    assert name.endswith(f'this is: {root}') and report.num_read == 0


def test_nothing_of_the_set(tmp_path) -> None:
    missing = look('camvid', tmp_path).problems['missing folders']
    assert missing.names == KNOWN_SETS['camvid'].folders


class TestCityscapes:
    STEM = 'aachen/x_000000_000019_gtFine'

    def test_files_beside(self, cityscapes) -> None:
        for suffix in ('labelIds.png', 'color.png', 'instanceIds.png', 'polygons.json'):
            (cityscapes / f'gtFine/train/{self.STEM}_{suffix}').write_text('not read')
        assert look('cityscapes', cityscapes).groups == {}

    def test_not_converted(self, cityscapes) -> None:
        ready = cityscapes / f'gtFine/train/{self.STEM}_labelTrainIds.png'
        ready.rename(ready.with_name(ready.name.replace('TrainIds', 'Ids')))
        report = look('cityscapes', cityscapes)
        name = f'gtFine/train/{self.STEM}_labelIds.png'
        assert found(report)['annotations to convert'] == [name]
        assert 'images without annotation' not in report.groups
        assert 'cityscapesscripts' in report.fix('annotations to convert')

    def test_missing_city(self, cityscapes) -> None:
        assert found(look('cityscapes', cityscapes, any_count=False))['missing folders'][:2] == [
            'leftImg8bit/train/bochum',
            'leftImg8bit/train/bremen',
        ]

    def test_city_without_annotations(self, cityscapes) -> None:
        shutil.rmtree(cityscapes / 'gtFine/val/frankfurt')
        report = look('cityscapes', cityscapes)
        name = 'leftImg8bit/val/frankfurt/x_000000_000019_leftImg8bit.png'
        assert found(report)['images without annotation'] == [name]

    def test_number_of_cities(self) -> None:
        assert [len(split.folders) for split in KNOWN_SETS['cityscapes'].splits] == [18, 3]


class TestImageNet:
    def test_incomplete(self, imagenet) -> None:
        groups = look('imagenet', imagenet, any_count=False).groups
        assert groups['missing folders'].count == 2 * 998
        assert groups['wrong numbers of files'].names == [
            'train/n01440764: 2, expected 732 to 1300',
            'train/n01443537: 2, expected 732 to 1300',
            'val/n01440764: 2, expected 50',
            'val/n01443537: 2, expected 50',
            'train: 4, expected 1,281,167',
        ]

    def test_empty_class(self, imagenet) -> None:
        shutil.rmtree(imagenet / 'val/n01440764')
        (imagenet / 'val/n01440764').mkdir()
        names = found(look('imagenet', imagenet))['wrong numbers of files']
        assert names == ['val/n01440764: 0, expected some']

    def test_other_classes(self, imagenet) -> None:
        write_image(imagenet / 'train/tench/0.JPEG')
        write_image(imagenet / 'train/n01440764/images/0.JPEG')
        names = found(look('imagenet', imagenet))['unexpected folders']
        assert names == ['train/tench', 'train/n01440764/images']

    def test_unsorted(self, imagenet) -> None:
        write_image(imagenet / 'val/ILSVRC2012_val_00000001.JPEG')
        (imagenet / 'train/n01440764.tar').write_text('left over')
        report = look('imagenet', imagenet)
        assert found(report) == {
            'unsorted files': ['val/ILSVRC2012_val_00000001.JPEG'],
            'other files': ['train/n01440764.tar'],
        }
        assert 'docs/datasets.md' in report.fix('unsorted files')

    def test_list(self, imagenet) -> None:
        (imagenet / 'meta').mkdir()
        (imagenet / 'meta/val.txt').write_text('a.JPEG 0')
        report = look('imagenet', imagenet)
        assert found(report) == {'lists of images': ['meta/val.txt']} and not report.problems

    def test_png_of_another_name_and_grey(self, imagenet) -> None:
        """Of both ImageNet has some."""
        write_image(imagenet / 'a.png')
        (imagenet / 'a.png').rename(imagenet / 'train/n01440764/a.JPEG')
        save_as(imagenet / 'train/n01440764/0.JPEG', 'L')
        for quick in (False, True):
            assert look('imagenet', imagenet, quick=quick).groups == {}


def test_processes_agree_with_one(camvid, monkeypatch) -> None:
    monkeypatch.setattr(tree, 'BATCH', 1)  # more batches than may wait
    for stem in 'defghijkl':
        write_image(camvid / f'images/train/{stem}.jpg')
        (camvid / f'annotations/train/{stem}.png').write_bytes(b'')
    told = []
    options = dict(any_count=True, progress=lambda *step: told.append(step))
    report = check_tree('camvid', camvid, workers=2, **options)
    assert report == look('camvid', camvid)
    assert report.groups['empty files'].count == 9
    steps = [done for what, done, total in told if what == 'files' and total == 30]
    assert steps == sorted(steps) and steps[-1] == 30


def test_each_file_is_opened_once(camvid, monkeypatch) -> None:
    opened = []
    plain_open = Path.open

    def spy(self: Path, *args):
        opened.append(self)
        return plain_open(self, *args)

    monkeypatch.setattr(files.Path, 'open', spy)
    look('camvid', camvid)
    assert len(opened) == len(set(opened)) == 12


def test_refusals(tmp_path) -> None:
    with pytest.raises(NotADirectoryError, match='expected the folder of CamVid'):
        look('camvid', tmp_path / 'missing')
    with pytest.raises(ValueError, match='expected one of ade20k, imagenet, camvid, cityscapes'):
        look('coco', tmp_path)


def test_every_kind_has_advice() -> None:
    for layout in KNOWN_SETS.values():
        assert set(layout.fixes) <= {*FIXES, *NOTES}


def test_which_set_a_config_reads() -> None:
    assert find_set('ADE20KDataset', 'data/anything') == 'ade20k'
    assert find_set('BaseSegDataset', 'data/camvid') == 'camvid'
    assert find_set('DrawnDataset', 'data/drawn') is None


@pytest.mark.parametrize(
    'name, folder, number',
    (
        ('ade20k', 'ade20k_mini', 24),
        ('camvid', 'camvid', 936),
        ('imagenet', 'imagenette_mini', 3100),
    ),
)
def test_real_data(name: str, folder: str, number: int, test_data) -> None:
    report = look(name, test_data / folder)
    assert report.groups == {} and report.num_read == number


def test_real_camvid_has_the_right_numbers(test_data) -> None:
    assert look('camvid', test_data / 'camvid', any_count=False, quick=True).groups == {}
