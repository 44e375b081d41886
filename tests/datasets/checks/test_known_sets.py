"""What is particular to each of the known data sets."""

from __future__ import annotations

import shutil

import pytest
from trees import found, look, save_as, write_image, write_pairs

from vil_mm.datasets.checks.known_sets import KNOWN_SETS, find_set


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
