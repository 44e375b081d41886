"""ImageNet-1K and its relatives, read from folders named by WordNet id (wnid)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from mmengine.fileio import get_file_backend
from mmengine.registry import DATASETS
from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmpretrain.datasets.custom import find_folders, get_samples

from vil_mm.errors import shorten

# Hendrycks and Dietterich, ICLR 2019: the 15 of the benchmark, then its 4 "extra" ones.
CORRUPTIONS = (
    'gaussian_noise', 'shot_noise', 'impulse_noise',
    'defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur',
    'snow', 'frost', 'fog', 'brightness',
    'contrast', 'elastic_transform', 'pixelate', 'jpeg_compression',
    'speckle_noise', 'gaussian_blur', 'spatter', 'saturate',
)  # fmt: skip
SEVERITIES = (1, 2, 3, 4, 5)


class DatasetError(ValueError):
    """The files on disk are not the data set, or not all of it."""


@lru_cache
def imagenet_wnids() -> tuple[str, ...]:
    """The wnids of the 1000 classes, in order of class index."""
    return tuple(Path(__file__).with_name('imagenet_wnids.txt').read_text('ascii').split())


@DATASETS.register_module()
class ImageNetFolders(CustomDataset):
    """Images in folders named by wnid; the labels are indices of ImageNet-1K, 0 to 999.

    mmpretrain numbers the folders it finds, which is right only if all 1000 exist. Here the label
    of a folder does not depend on the others, so sets that cover some of the classes (ImageNet-A,
    -R) and subsets are scored against the 1000 outputs of an ImageNet classifier.
    ``metainfo['class_indices']`` lists the labels that occur, in order.

    Args:
        data_root: Folder of the set.
        data_prefix: Folder of the wnid folders, relative to ``data_root``.
        num_folders: Required number of folders; None accepts any.
        first_classes: Keep classes with an index below this, all of which must exist; None keeps
            every folder.
        **kwargs: Arguments of mmpretrain's ``CustomDataset`` except ``ann_file``.

    Raises:
        DatasetError: The data folder does not exist, a folder in it is not a wnid of ImageNet-1K or
            has no images, or there are too few or too many folders.
        ValueError: Options contradict each other.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: str = '',
        num_folders: int | None = None,
        first_classes: int | None = None,
        **kwargs,
    ) -> None:
        if kwargs.get('ann_file'):
            raise ValueError(
                f'{type(self).__name__} takes labels from the names of folders, not from an '
                "ann_file; use mmpretrain's CustomDataset for list files"
            )
        if num_folders is not None and first_classes is not None:
            raise ValueError('give num_folders or first_classes, not both')
        for count in (num_folders, first_classes):
            if count is not None and not 1 <= count <= 1000:
                raise ValueError(f'ImageNet-1K has classes for 1 to 1000 folders, not for {count}')
        self.num_folders = num_folders
        self.first_classes = first_classes
        kwargs.setdefault('metainfo', dict(classes=IMAGENET_CATEGORIES[:first_classes]))
        super().__init__(data_root=data_root, data_prefix=data_prefix, **kwargs)

    def _find_samples(self) -> list[tuple[str, int]]:
        return self.find_samples(self.img_prefix)

    def find_samples(self, root: str) -> list[tuple[str, int]]:
        """Paths of the images below ``root``, relative to it, with their labels."""
        if not get_file_backend(root, enable_singleton=True).isdir(root):
            raise DatasetError(
                f'no folder {root}: {type(self).__name__} expects folders named by wnid in it, '
                'such as n01440764; docs/datasets.md shows the layout'
            )
        labels = self._list_labels(root)
        samples, empty = get_samples(root, labels, self.is_valid_file)
        if empty or not samples:
            where = f'{shorten(empty, 5)} of {root}' if empty else root
            raise DatasetError(f'no image in {where}: an unfinished copy?')
        self._metainfo['class_indices'] = tuple(sorted(labels.values()))
        return samples

    def _list_labels(self, root: str) -> dict[str, int]:
        """Class index of each folder to read, by its name."""
        wnids = imagenet_wnids()
        indices = {wnid: index for index, wnid in enumerate(wnids)}
        found, _ = find_folders(root)
        unknown = [name for name in found if name not in indices]
        if unknown:
            raise DatasetError(
                f'{root} has folders that are not classes of ImageNet-1K: {shorten(unknown, 5)}; '
                'expected folders named by wnid, such as n01440764, and nothing else'
            )
        wanted = wnids[: self.first_classes]
        kept = {name: indices[name] for name in found if indices[name] < len(wanted)}
        expected = self.num_folders if self.first_classes is None else len(wanted)
        if expected is not None and len(kept) != expected:
            # missing ones can be named only if every class is required
            complete = expected == len(wanted)
            missing = [wnid for wnid in wanted if wnid not in kept] if complete else []
            raise DatasetError(
                f'{root} has {len(kept)} folders of classes, expected {expected}'
                + (
                    f'; missing: {shorten(missing, 5)}'
                    if missing
                    else ': incomplete or another set?'
                )
            )
        return kept


@DATASETS.register_module()
class ImageNetC(ImageNetFolders):
    """ImageNet-C: ImageNet's validation images under 19 corruptions, each at 5 severities.

    Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, Hendrycks and
    Dietterich, ICLR 2019. The files are ``<corruption>/<severity>/<wnid>/*.JPEG``. Every sample has
    the keys ``corruption`` and ``severity``, which ``PackInputs`` must pass on to the metric:
    ``meta_keys=('corruption', 'severity')``.

    Args:
        data_root, data_prefix, first_classes: As in ``ImageNetFolders``.
        num_folders: Required number of classes for every corruption and severity.
        corruptions: Names of the corruptions to read.

    Raises:
        DatasetError: As in ``ImageNetFolders``, or a corruption or severity is missing; the message
            names all of them.
        ValueError: A corruption is not known.
    """

    def __init__(self, *args, corruptions: Sequence[str] = CORRUPTIONS, **kwargs) -> None:
        unknown = [name for name in corruptions if name not in CORRUPTIONS]
        if unknown or not corruptions:
            raise ValueError(
                f'unknown corruptions {unknown}: expected some of {", ".join(CORRUPTIONS)}'
            )
        self.corruptions = tuple(corruptions)
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict per image: ``img_path``, ``gt_label``, ``corruption``, ``severity``."""
        backend = get_file_backend(self.img_prefix, enable_singleton=True)
        parts = [(name, severity) for name in self.corruptions for severity in SEVERITIES]
        folders = [backend.join_path(self.img_prefix, name, str(s)) for name, s in parts]
        missing = [folder for folder in folders if not backend.isdir(folder)]
        if missing:
            raise DatasetError(
                f'{len(missing)} of {len(parts)} parts of ImageNet-C are missing: '
                f'{shorten(missing, 5)}; expected <corruption>/<severity>/<wnid>/*.JPEG'
            )
        return [
            dict(
                img_path=backend.join_path(folder, file),
                gt_label=label,
                corruption=corruption,
                severity=severity,
            )
            for (corruption, severity), folder in zip(parts, folders, strict=True)
            for file, label in self.find_samples(folder)
        ]
