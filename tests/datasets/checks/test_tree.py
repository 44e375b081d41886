"""Checking data sets on disk: small made-up trees, whole and damaged in every way."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import HEIGHT, WIDTH, found, look, save_as, write_image, write_label, write_pairs

from vil_mm.datasets.checks import files, known_sets, tree
from vil_mm.datasets.checks.known_sets import KNOWN_SETS
from vil_mm.datasets.checks.tree import check_tree
from vil_mm.datasets.checks.tree_report import FIXES, NOTES

IMAGE, LABEL = 'images/train/b.jpg', 'annotations/train/b.png'


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
