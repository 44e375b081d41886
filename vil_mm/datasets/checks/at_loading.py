"""Files that turn out damaged in the middle of a run are named in the error."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset, Compose
from mmseg.datasets.transforms import LoadAnnotations

from vil_mm.datasets.checks.files import is_cut_off
from vil_mm.datasets.checks.findings import listed
from vil_mm.datasets.checks.pairs import reason
from vil_mm.datasets.checks.parts import REMOTE, find_file, is_loading, loading, loads_mask
from vil_mm.datasets.imagenet import DatasetError


class BadFileError(DatasetError):
    """A file of a sample cannot be used. The message is one line, from worker processes, too.

    PyTorch makes an error of a worker anew in the main process, with the worker's traceback for a
    message, of which the last line is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().splitlines()[-1].rpartition('BadFileError: ')[2])


class CheckedLoading(Compose):
    """A pipeline whose loading transforms name the file that they fail at.

    It also refuses what would be passed over in silence or end a run later without a name: files
    that are cut off, masks of another size than their image, and values that are no class.

    Args:
        pipeline: Whose transforms to run.
        num_classes: Values of masks are below it, or ``ignore_index``; None takes any.
        ignore_index: Label of pixels that do not count.
    """

    def __init__(self, pipeline: Compose, num_classes: int | None, ignore_index: int) -> None:
        self.transforms = list(pipeline.transforms)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        for transform in self.transforms:  # test-time augmentation has several ways
            if hasattr(transform, 'subroutines'):
                ways = transform.subroutines
                transform.subroutines = [self._checked(way) for way in ways]

    def _checked(self, way: Compose) -> CheckedLoading:
        return CheckedLoading(way, self.num_classes, self.ignore_index)

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms in their order.

        Raises:
            BadFileError: Names the file.
        """
        for transform in self.transforms:
            data = self.step(transform, data)
            if data is None:
                return None
        return data

    def step(self, transform: BaseTransform, data: dict) -> dict | None:
        """Run one of the transforms.

        Raises:
            BadFileError: Names the file.
        """
        if not is_loading(transform):
            return transform(data)
        path = find_file(transform, data)
        try:
            loaded = transform(data)
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
        labels, size = data['gt_seg_map'], tuple(data.get('ori_shape', ()))
        if size and labels.shape != size:
            yield f'has the shape {labels.shape}, its image {size}'
        if self.num_classes:
            wrong = labels[(labels >= self.num_classes) & (labels != self.ignore_index)]
            if wrong.size:
                yield (
                    f'holds the values {listed(np.unique(wrong))}, expected 0 to '
                    f'{self.num_classes - 1}, or {self.ignore_index} where there is no class'
                )


def mask_loader(dataset: BaseDataset) -> CheckedLoading:
    """What loads the masks of an mmseg data set, as its own pipeline does: no image is read."""
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
    """Put a :class:`CheckedLoading` into a data set, and into those that it wraps, in place.

    Args:
        dataset: Any; what has no pipeline stays as it is.
        num_classes: Of masks where the data set names no classes.
        ignore_index: By default the data set's.
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
