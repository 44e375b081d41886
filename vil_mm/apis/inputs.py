"""Image inputs of both inferencers."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from logging import WARNING
from pathlib import Path

import numpy as np
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS

from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.datasets.images import distinct_names, list_images
from vil_mm.datasets.reading import ImageReader, apply
from vil_mm.models.inspection import count_channels
from vil_mm.progress import no_progress, show_progress, track
from vil_mm.runs.nested import as_list

Image = str | Path | np.ndarray
_BUILDING = threading.RLock()  # the registries' default scope belongs to the whole process
_NUMBERING = threading.Lock()


def one_at_a_time(build: Callable[..., None]) -> Callable[..., None]:
    """Decorate an inferencer's ``__init__``: it changes the registries' default scope."""

    @functools.wraps(build)
    def locked(*args, **kwargs) -> None:
        with _BUILDING:
            build(*args, **kwargs)

    return locked


class ThreadState(threading.local):
    """What a call of an inferencer notes; every thread sees its own.

    Attributes:
        unreadable: Images that could not be read.
        names: Output names of the images.
    """

    def __init__(self) -> None:
        self.unreadable: list[str] = []
        self.names: list[Path] = []

    def __reduce__(self) -> tuple:
        return ThreadState, ()  # so that inferencers can be copied and pickled


class FolderOfImages(list):
    """The images of a folder, of which unreadable ones are skipped."""


class ImageInputs:
    """Mix-in for OpenMMLab's inferencers: loads files as the config's test pipeline does.

    A folder stands for the images in it; unreadable ones are logged, skipped and listed in
    ``unreadable``. An unreadable file that is named directly is an error. Arrays must match what
    the pipeline loads from a file.

    Several threads may call one inferencer at the same time.
    """

    num_arrays = 0  # numbered so far, for the names of their files
    with_bar = True  # a progress bar; the parents' bars fail when several threads share them

    def __new__(cls, *_: object, **__: object) -> ImageInputs:
        self = super().__new__(cls)
        self._call = ThreadState()
        return self

    @property
    def unreadable(self) -> list[str]:
        """Images of a folder that could not be read in this thread's last call."""
        return self._call.unreadable

    def _inputs_to_list(self, inputs: Image | list) -> list[str | np.ndarray]:
        self._call.unreadable = []
        if isinstance(inputs, str | Path):
            paths = [str(path) for path in list_images(inputs)]
            return FolderOfImages(paths) if Path(inputs).is_dir() else paths
        inputs = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        return [str(x) if isinstance(x, Path) else x for x in inputs]

    def _init_pipeline(self, cfg: Config) -> Callable[[Image], dict]:
        steps = [
            step
            for step in cfg.test_dataloader.dataset.pipeline
            if not ('Load' in step['type'] and 'Annotation' in step['type'])
        ]
        transforms = Compose(steps).transforms
        self.reader = ImageReader(transforms)
        rest = transforms[transforms.index(self.reader.loader) + 1 :]
        return Compose([self.load, *(functools.partial(apply, step) for step in rest)])

    def preprocess(self, inputs: list, batch_size: int = 1) -> Iterator:
        """Yield batches for the model; removes unreadable images of a folder from ``inputs``."""
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        of_folder = isinstance(inputs, FolderOfImages)
        samples = self._readable(inputs) if of_folder else map(self.pipeline, inputs)
        batches = map(self.collate, self._get_chunk_data(samples, batch_size))
        with show_progress() as progress:
            progress = progress if self.with_bar else no_progress
            yield from track(batches, -(-len(inputs) // batch_size), 'batches', progress)
        if self.unreadable:
            count = len(self.unreadable)
            print_log(f'{count} files in the folder could not be read', 'current', WARNING)

    def _readable(self, inputs: FolderOfImages) -> Iterator[dict]:
        for path in list(inputs):
            try:
                sample = self.pipeline(path)
            except (OSError, ValueError) as error:
                print_log(str(error), 'current', WARNING)
                self.unreadable.append(path)
                inputs.remove(path)
                if not inputs:
                    raise ValueError(f'no image in the folder can be read: {error}') from error
                continue
            yield sample

    def load(self, image: Image) -> dict:
        """Load an image for the pipeline: ``img``, ``img_shape``, ``ori_shape``.

        Args:
            image: A file, or an array as the pipeline would load it.

        Raises:
            ValueError: The file is not an image, or the image does not match the model.
        """
        if isinstance(image, str | Path):
            results = self.reader.read(str(image))
            channels = _count_bands(results['img'])
            if channels not in (1, self._channels):
                raise ValueError(
                    f'{image} has {channels} channels, but the model takes {self._channels}'
                )
            return results
        self._check_array(image)
        if self.reader.converts_to_float or (image.dtype != np.uint8):
            image = image.astype(np.float32)
        return {'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]}

    @property
    def _channels(self) -> int:
        return count_channels(self.model)

    def _check_array(self, image: np.ndarray) -> None:
        channels = self.reader.channels or self._channels
        shape = f'(H, W, {channels})' + (' or (H, W)' if channels == 1 else '')
        order = ' in BGR order' if self.reader.is_8_bit and channels == 3 else ''
        if not isinstance(image, np.ndarray):
            raise ValueError(
                f'expected a path or a NumPy array {shape}, got {type(image).__name__}'
            )
        good = image.ndim in ((2, 3) if channels == 1 else (3,)) and image.size
        if not good or _count_bands(image) != channels:
            raise ValueError(f'expected an array {shape + order}, got the shape {image.shape}')
        if self.reader.is_8_bit and image.dtype != np.uint8:
            raise ValueError(
                f'expected an array of uint8, 0 to 255{order}, got {image.dtype}; convert it the '
                'way your files were made'
            )
        if image.dtype.kind not in 'buif':
            raise ValueError(f'expected an array of numbers, got {image.dtype}')

    def to_picture(self, image: Image) -> np.ndarray:
        """The image for display, ``(H, W, 3)``, uint8, RGB."""
        return self.reader.picture(self.load(image)['img'])

    def list_names(self, inputs: list[str | np.ndarray]) -> list[Path]:
        """Output names without suffixes; arrays are numbered."""
        files = iter(distinct_names([x for x in inputs if isinstance(x, str)]))
        names = []
        with _NUMBERING:
            for image in inputs:
                is_file = isinstance(image, str)
                names.append(next(files) if is_file else Path(f'{self.num_arrays:08d}'))
                self.num_arrays += not is_file
        return names


def _count_bands(image: np.ndarray) -> int:
    """C for ``(H, W, C)``, 1 for ``(H, W)``."""
    return 1 if image.ndim == 2 else image.shape[2]


def check_class_names(names: Sequence[str] | None, count: int, weights: str) -> None:
    """Fail if a checkpoint names fewer classes than the model predicts.

    Raises:
        CheckpointError: It does.
    """
    if names and len(names) < count:
        raise CheckpointError(f'{weights} names {len(names)} classes, but the model has {count}')


def find_model_scope(cfg: Config, scope: str) -> str:
    """The registry scope to build a config's model in.

    Args:
        cfg: A config with a model.
        scope: 'mmseg' or 'mmpretrain', the scope of the task.

    Returns:
        The config's own scope if it has all parts of the model, else ``scope``.
    """
    own = cfg.get('default_scope')
    if own and own != scope:
        with MODELS.switch_scope_and_registry(own) as registry:
            if registry.scope == own and registry.get(cfg.model.backbone.type):
                head = as_list(cfg.model.get('decode_head') or cfg.model.get('head') or {})[-1]
                if registry.get(cfg.model.type) and registry.get(head.get('type', '')):
                    return own
    return scope
