"""Known data sets as they should be on disk: folders, suffixes, counts, label values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from vil_mm.datasets.imagenet import imagenet_wnids


@dataclass(frozen=True)
class Split:
    """A split of a data set.

    Args:
        images: Image folder, relative to the root.
        count: Number of images.
        annotations: Annotation folder; empty if folder names give the class.
        folders: Subfolders into which the files are sorted; empty if there are none.
        per_folder: Minimum and maximum number of images in each subfolder, if known.
    """

    images: str
    count: int
    annotations: str = ''
    folders: tuple[str, ...] = ()
    per_folder: tuple[int, int] | None = None


@dataclass(frozen=True)
class KnownSet:
    """A data set on disk.

    Args:
        title: Its usual name.
        dataset: Type of the data set class that reads it.
        splits: Its splits.
        image_suffixes: Suffixes of image files; exactly one if there are annotations.
        label_suffix: Suffix of annotation files.
        labels: Allowed pixel values in annotations.
        raw_label_suffix: Suffix of annotations that still need to be converted.
        beside: Suffixes of files that belong to the set but are not read.
        lists: List files that, if they exist, are read instead of folder names.
        fixes: Advice for kinds of problems, where it is more specific than the general one.
    """

    title: str
    dataset: str
    splits: tuple[Split, ...]
    image_suffixes: tuple[str, ...]
    label_suffix: str = ''
    labels: frozenset[int] = frozenset()
    raw_label_suffix: str = ''
    beside: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    fixes: Mapping[str, str] = field(default_factory=dict)

    @property
    def folders(self) -> list[str]:
        """Every folder of images and annotations, relative to the root."""
        named = [folder for split in self.splits for folder in (split.images, split.annotations)]
        return [folder for folder in named if folder]


CITIES = (
    (
        'aachen', 'bochum', 'bremen', 'cologne', 'darmstadt', 'dusseldorf', 'erfurt', 'hamburg',
        'hanover', 'jena', 'krefeld', 'monchengladbach', 'strasbourg', 'stuttgart', 'tubingen',
        'ulm', 'weimar', 'zurich',
    ),
    ('frankfurt', 'lindau', 'munster'),
)  # fmt: skip
TO_TRAIN_IDS = (
    'pip install cityscapesscripts, then run the converter of mmsegmentation '
    '(tools/dataset_converters/cityscapes.py ROOT) or `CITYSCAPES_DATASET=ROOT '
    'csCreateTrainIdLabelImgs`: either writes *_gtFine_labelTrainIds.png from the polygons'
)

KNOWN_SETS = {
    'ade20k': KnownSet(
        title='ADE20K',
        dataset='ADE20KDataset',
        splits=(
            Split('images/training', 20210, 'annotations/training'),
            Split('images/validation', 2000, 'annotations/validation'),
        ),
        image_suffixes=('.jpg',),
        label_suffix='.png',
        labels=frozenset(range(151)),
        fixes={
            'label values': 'the benchmark has 0 for "other" and 1 to 150: take the annotations of '
            'ADEChallengeData2016.zip, not those of the full ADE20K, and do not subtract 1',
            'colour annotations': 'these look like the full ADE20K, whose parts are coded as '
            'colours: take the annotations of ADEChallengeData2016.zip',
        },
    ),
    'imagenet': KnownSet(
        title='ImageNet',
        dataset='ImageNet',
        splits=(
            Split('train', 1281167, folders=imagenet_wnids(), per_folder=(732, 1300)),
            Split('val', 50000, folders=imagenet_wnids(), per_folder=(50, 50)),
        ),
        image_suffixes=('.JPEG', '.jpeg', '.JPG', '.jpg', '.PNG', '.png'),
        lists=('meta/train.txt', 'meta/val.txt'),
        fixes={
            'missing folders': 'unpack the archive of each class into a folder named by its wnid; '
            'for a deliberate subset add --any-count',
            'unsorted files': 'sort them into folders named by wnid, as the script in '
            'docs/datasets.md does for the validation images',
        },
    ),
    'camvid': KnownSet(
        title='CamVid',
        dataset='',  # mmseg's BaseSegDataset, which reads any set
        splits=(
            Split('images/train', 367, 'annotations/train'),
            Split('images/val', 101, 'annotations/val'),
        ),
        image_suffixes=('.jpg',),
        label_suffix='.png',
        labels=frozenset([*range(11), 255]),
        fixes={
            'label values': 'void is 11 in the files of SegNet and has to become 255: run the '
            'script of docs/datasets.md; other values are from the version with 32 classes',
            'colour annotations': 'these are from the version with 32 classes in colours: take '
            'the version of SegNet and convert it with the script of docs/datasets.md',
        },
    ),
    'cityscapes': KnownSet(
        title='Cityscapes',
        dataset='CityscapesDataset',
        splits=(
            Split('leftImg8bit/train', 2975, 'gtFine/train', CITIES[0]),
            Split('leftImg8bit/val', 500, 'gtFine/val', CITIES[1]),
        ),
        image_suffixes=('_leftImg8bit.png',),
        label_suffix='_gtFine_labelTrainIds.png',
        labels=frozenset([*range(19), 255]),
        raw_label_suffix='_gtFine_labelIds.png',
        beside=(
            '_gtFine_labelIds.png',
            '_gtFine_color.png',
            '_gtFine_instanceIds.png',
            '_gtFine_instanceTrainIds.png',
            '_gtFine_polygons.json',
        ),
        fixes={
            'label values': 'train ids are 0 to 18 and 255; these files hold other ids, as '
            f'labelIds do under a new name: remove them, {TO_TRAIN_IDS}',
            'annotations to convert': TO_TRAIN_IDS,
            'colour annotations': f'these are pictures for looking at: remove them, {TO_TRAIN_IDS}',
        },
    ),
}  # fmt: skip


def find_set(dataset: str, root: str) -> str | None:
    """Key of a known set, by the type of the data set class or the name of the root folder."""
    for name, known in KNOWN_SETS.items():
        if dataset == known.dataset or PurePath(root).name == name:
            return name
    return None
