"""The data sets of a split, and how their pipelines load files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmcv.transforms import BaseTransform, LoadAnnotations
from mmengine.dataset import BaseDataset

REMOTE = '://'  # marks paths that a file client reads; they cannot be checked without reading


@dataclass(frozen=True)
class Expected:
    """What a config's model expects of its data; None if unknown.

    Attributes:
        num_classes: Classes of the head.
        ignore_index: Label of ignored pixels.
        channels: Channels of an image.
    """

    num_classes: int | None = None
    ignore_index: int | None = None
    channels: int | None = None


class Part:
    """One data set of a split; wrappers such as ConcatDataset hold several.

    Args:
        dataset: The data set, with its list of samples in memory.
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
        """The folder under ``key`` of ``data_prefix``; empty if there is none."""
        prefix = self.dataset.data_prefix
        return (prefix.get(key) or '') if isinstance(prefix, dict) else ''


def loading(transforms: Iterable[BaseTransform]) -> Iterator[BaseTransform]:
    """The transforms that read files, also in the first pipeline of test-time augmentation."""
    for transform in transforms:
        pipelines = getattr(transform, 'subroutines', None)
        if pipelines:
            yield from loading(pipelines[0].transforms)
        elif is_loading(transform):
            yield transform


def is_loading(transform: BaseTransform) -> bool:
    """Whether a transform reads files, judging by its name."""
    return type(transform).__name__.startswith('Load')


def loads_mask(transform: BaseTransform) -> bool:
    """Whether a transform reads label maps."""
    return isinstance(transform, LoadAnnotations) and transform.with_seg


def find_file(transform: BaseTransform, info: dict) -> str:
    """The file that a transform reads for a sample."""
    key = 'seg_map_path' if loads_mask(transform) else 'img_path'
    return str(info.get(key) or info.get('img_path', ''))
