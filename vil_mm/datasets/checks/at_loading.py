"""Name the file in the error when loading fails during a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset, Compose
from mmseg.datasets.transforms import LoadAnnotations

from vil_mm.datasets.checks.files import is_cut_off, is_deep
from vil_mm.datasets.checks.findings import allowed_values, listed
from vil_mm.datasets.checks.masks import check_raw, raw_mask
from vil_mm.datasets.checks.pairs import reason
from vil_mm.datasets.checks.parts import REMOTE, find_file, is_loading, loading, loads_mask
from vil_mm.datasets.imagenet import DatasetError
from vil_mm.datasets.pixel_limit import TooManyPixelsError, check_pixels
from vil_mm.datasets.reading import apply


class BadFileError(DatasetError):
    """A file of a sample cannot be used. The message is one line, even from a worker process.

    PyTorch raises a worker's error again in the main process with the worker's traceback as its
    message; only the last line of that is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().splitlines()[-1].rpartition('BadFileError: ')[2])


class CheckedLoading(Compose):
    """A pipeline whose loading transforms name the file at which they fail.

    It also rejects faults that would pass silently or stop the run later without a file name:
    truncated files, masks that differ in size from their image, and values that are not a class.

    Args:
        pipeline: The pipeline whose transforms to run.
        num_classes: Mask values must be below this or equal ``ignore_index``; None accepts any.
        ignore_index: Label of ignored pixels.
    """

    def __init__(self, pipeline: Compose, num_classes: int | None, ignore_index: int) -> None:
        self.transforms = list(pipeline.transforms)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        for transform in self.transforms:  # test-time augmentation has several pipelines
            if hasattr(transform, 'subroutines'):
                transform.subroutines = [
                    CheckedLoading(inner, num_classes, ignore_index)
                    for inner in transform.subroutines
                ]

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms in order.

        Raises:
            BadFileError: A file cannot be used; the message names it.
            TooNarrowError: Nothing is left of an image when it is resized.
        """
        for transform in self.transforms:
            data = self.step(transform, data)
            if data is None:
                return None
        return data

    def step(self, transform: BaseTransform, data: dict) -> dict | None:
        """Run one of the transforms; raises as :meth:`__call__`."""
        if not is_loading(transform):
            return apply(transform, data)
        path = find_file(transform, data)
        try:
            if REMOTE not in path:
                check_pixels(path)
            loaded = transform(data)
        except TooManyPixelsError as error:
            raise BadFileError(str(error)) from error
        except Exception as error:  # damaged files raise errors of almost any type
            raise BadFileError(f'{path} cannot be read ({reason(path, error)})') from error
        if loaded is not None:
            for fault in self._faults(transform, path, loaded):
                raise BadFileError(f'{path} {fault}')
        return loaded

    def _faults(self, transform: BaseTransform, path: str, data: dict) -> Iterator[str]:
        if REMOTE not in path and is_cut_off(path):
            yield 'is cut off: its lower part is missing'
        if not loads_mask(transform) or 'gt_seg_map' not in data:
            return
        if REMOTE not in path and is_deep(path):  # its values were cut to 8 bits
            found = check_raw(path, raw_mask(transform, path), data.get('img_path', ''))
            yield from (x.what.removeprefix(f'{path} ') for x in found if x.fatal)
        labels, size = data['gt_seg_map'], tuple(data.get('ori_shape', ()))
        if size and labels.shape != size:
            yield f'has the shape {labels.shape}, its image {data.get("img_path", "")} {size}'
        if self.num_classes:
            wrong = np.unique(labels[(labels >= self.num_classes) & (labels != self.ignore_index)])
            if wrong.size:
                reduced = bool(data.get('reduce_zero_label'))  # read as value - 1
                allowed = allowed_values(self.num_classes, reduced, self.ignore_index)
                yield f'holds the values {listed(wrong + reduced)}, expected {allowed}'


def mask_loader(dataset: BaseDataset) -> CheckedLoading:
    """Loads the masks of an mmseg data set as its pipeline does, without reading images."""
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', [])
    load = next(
        filter(loads_mask, loading(transforms)),
        LoadAnnotations(backend_args=getattr(dataset, 'backend_args', None)),
    )
    ignore_index = getattr(dataset, 'ignore_index', 255)
    return CheckedLoading(Compose([load]), len(dataset.metainfo['classes']), ignore_index)


def name_files(
    dataset: object, num_classes: int | None = None, ignore_index: int | None = None
) -> None:
    """Install a :class:`CheckedLoading` in a data set and in those it wraps, in place.

    Args:
        dataset: Any data set; one without a pipeline stays unchanged.
        num_classes: Number of classes in masks if the data set does not name its classes.
        ignore_index: Label of ignored pixels; by default the data set's.
    """
    for inner in [*getattr(dataset, 'datasets', []), getattr(dataset, 'dataset', None)]:
        if inner is not None:
            name_files(inner, num_classes, ignore_index)
    pipeline = getattr(dataset, 'pipeline', None)
    if isinstance(dataset, BaseDataset) and type(pipeline) is Compose:
        classes = dataset.metainfo.get('classes')
        own = getattr(dataset, 'ignore_index', 255)
        dataset.pipeline = CheckedLoading(
            pipeline,
            len(classes) if classes else num_classes,
            own if ignore_index is None else ignore_index,
        )
