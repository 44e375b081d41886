"""The data sets that a split reads, as objects, and how their pipelines load a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmcv.transforms import BaseTransform, LoadAnnotations
from mmengine.dataset import BaseDataset

REMOTE = '://'  # in paths that a file client reads: nothing is known of them without reading


@dataclass(frozen=True)
class Expected:
    """What a config's model expects of its data; None where it does not say.

    Attributes:
        num_classes: Of the head.
        ignore_index: Label of pixels that do not count.
        channels: Of an image.
    """

    num_classes: int | None = None
    ignore_index: int | None = None
    channels: int | None = None


class Part:
    """One data set of a split, of which wrappers such as ConcatDataset may hold several.

    Args:
        dataset: With its list of samples in memory.
        expected: What the model expects.
    """

    def __init__(self, dataset: BaseDataset, expected: Expected) -> None:
        self.dataset = dataset
        self.channels = expected.channels
        self.infos: list[dict] = dataset.data_list
        self.loads = list(loading(dataset.pipeline.transforms))
        self.reads_masks = any(loads_mask(load) for load in self.loads)
        self.reduce_zero_label = bool(getattr(dataset, 'reduce_zero_label', False))
        own = getattr(dataset, 'ignore_index', 255)
        self.ignore_index = own if expected.ignore_index is None else expected.ignore_index
        self.classes = [str(name) for name in dataset.metainfo.get('classes') or ()]
        self.num_classes = len(self.classes) or expected.num_classes
        self.num_outputs = expected.num_classes or self.num_classes

    @property
    def img_suffix(self) -> str | None:
        return getattr(self.dataset, 'img_suffix', None)

    @property
    def seg_map_suffix(self) -> str | None:
        return getattr(self.dataset, 'seg_map_suffix', None)

    @property
    def ann_file(self) -> str:
        return getattr(self.dataset, 'ann_file', None) or ''

    def folder(self, key: str) -> str:
        """Folder of a ``data_prefix``; empty if there is none."""
        prefix = self.dataset.data_prefix
        return (prefix.get(key) or '') if isinstance(prefix, dict) else ''


def loading(transforms: Iterable[BaseTransform]) -> Iterator[BaseTransform]:
    """The transforms that read files, also those within test-time augmentation (its first way)."""
    for transform in transforms:
        ways = getattr(transform, 'subroutines', None)
        if ways:
            yield from loading(ways[0].transforms)
        elif is_loading(transform):
            yield transform


def is_loading(transform: BaseTransform) -> bool:
    """Whether a transform reads files, as all do that are called so."""
    return type(transform).__name__.startswith('Load')


def loads_mask(transform: BaseTransform) -> bool:
    """Whether it reads a map of labels."""
    return isinstance(transform, LoadAnnotations) and transform.with_seg


def find_file(transform: BaseTransform, info: dict) -> str:
    """The file that a transform reads of a sample."""
    key = 'seg_map_path' if loads_mask(transform) else 'img_path'
    return str(info.get(key) or info.get('img_path', ''))
