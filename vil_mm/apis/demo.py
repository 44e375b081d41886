"""Draw predictions over images, folders of images and videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import mmcv
import numpy as np

from vil_mm.datasets.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, distinct_names, list_images
from vil_mm.errors import ArgumentError
from vil_mm.files import atomic_write
from vil_mm.progress import Progress, no_progress, track


class UnreadableImages(ValueError):
    """Some of several images could not be read; the results of the others are written."""

    exit_code = 1  # of the command line


class Drawer(Protocol):
    """The common interface of ``SegInferencer`` and ``ClsInferencer``."""

    def draw(
        self,
        image: str | Path | np.ndarray,
        *,
        side_by_side: bool = False,
        fixed_size: bool = False,
    ) -> np.ndarray:
        """Draw the prediction for an image: RGB, uint8."""


def plan_outputs(source: str | Path, out: str | Path) -> list[tuple[Path, Path]]:
    """List the files to read and write, before a model is built.

    Args:
        source: Image, folder or video (by its suffix).
        out: A file of the same kind, or a folder; for a folder of images, a folder. Files in a
            folder are named after their sources, as PNG or MP4.

    Returns:
        Pairs of source and target.

    Raises:
        FileNotFoundError: The source does not exist.
        ValueError: It holds no image, or ``out`` is unsuitable or would overwrite it.
    """
    source, out = Path(source), Path(out)
    if _is_video(source):
        if not source.is_file():
            raise FileNotFoundError(f'no such video: {source} (looked from {Path.cwd()})')
        return [(source, _target(source, out, '.mp4', ('.mp4',)))]
    images = list_images(source)
    if not source.is_dir():
        return [(source, _target(source, out, '.png', IMAGE_SUFFIXES))]
    if out.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) or out.is_file():
        raise ArgumentError(f'must be a folder, because {source} is one', out=out)
    return list(zip(images, _distinct_targets(images, out), strict=True))


def draw_all(
    inferencer: Drawer,
    pairs: Sequence[tuple[Path, Path]],
    *,
    side_by_side: bool = False,
    progress: Progress = no_progress,
) -> dict[Path, str]:
    """Predict images and videos and write the pictures.

    Creates folders as needed. Each file appears once it is complete. Unreadable images are skipped,
    unless there is only one.

    Args:
        inferencer: A ``SegInferencer`` or ``ClsInferencer``.
        pairs: The result of :func:`plan_outputs`.
        side_by_side: Show the image next to its prediction.
        progress: Called after each image and frame.

    Returns:
        The errors of skipped images, by target.

    Raises:
        ValueError: The only file is damaged, or not an image or video.
    """
    wrong = {}
    several = len(pairs) > 1
    for source, target in track(pairs, len(pairs), 'images', progress):
        if _is_video(source):
            _draw_video(inferencer, source, target, side_by_side, progress)
            continue
        try:
            picture = inferencer.draw(source, side_by_side=side_by_side)
        except (OSError, ValueError) as error:
            if not several:
                raise
            wrong[target] = str(error)
            continue
        with atomic_write(target) as unfinished:
            mmcv.imwrite(mmcv.rgb2bgr(picture), str(unfinished))
    return wrong


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _target(source: Path, out: Path, suffix: str, known: Sequence[str]) -> Path:
    """The file to write for one source: ``out`` itself, or a file in the folder ``out``."""
    if out.suffix and not out.is_dir():
        if out.suffix.lower() not in known:
            raise ArgumentError(f'expected a folder or a file *{" or *".join(known)}', out=out)
        target = out
    else:
        target = out / f'{source.stem}{suffix}'
    if target.exists() and source.exists() and target.samefile(source):
        raise ArgumentError('would overwrite the source', out=target)
    return target


def _distinct_targets(images: list[Path], folder: Path) -> list[Path]:
    """A PNG per image."""
    if folder.exists() and folder.samefile(images[0].parent):
        raise ArgumentError('must not be the folder of the images', out=folder)
    return [folder / f'{name}.png' for name in distinct_names(images)]


def _draw_video(
    inferencer: Drawer, source: Path, target: Path, side_by_side: bool, progress: Progress
) -> None:
    video = mmcv.VideoReader(str(source))
    if video.frame_cnt < 1:  # negative if OpenCV cannot open the file
        raise ValueError(f'not a video, or OpenCV cannot read its frames: {source}')
    written = 0
    with atomic_write(target) as unfinished:
        with _writer(unfinished, video.fps) as write:
            for frame in track(video, len(video), f'frames of {source.name}', progress):
                write(inferencer.draw(frame, side_by_side=side_by_side, fixed_size=True))
                written += 1
        if not _is_complete(unfinished, written):  # OpenCV reports no errors
            raise OSError(f'could not write {target}: is the disk full?')


def _is_complete(video: Path, frames: int) -> bool:
    return video.is_file() and mmcv.VideoReader(str(video)).frame_cnt >= frames


@contextmanager
def _writer(path: Path, fps: float) -> Iterator:
    """A function that adds pictures ``(H, W, 3)``, RGB, to an MP4; the first one fixes the size."""
    writer = None

    def write(picture: np.ndarray) -> None:
        nonlocal writer
        height, width = (side + side % 2 for side in picture.shape[:2])  # the codec needs even ones
        if writer is None:
            code = cv2.VideoWriter_fourcc(*'mp4v')
            writer = cv2.VideoWriter(str(path), code, fps or 25.0, (width, height))
        missing = height - picture.shape[0], width - picture.shape[1]
        padded = np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=255)
        writer.write(mmcv.rgb2bgr(padded))

    try:
        yield write
    finally:
        if writer is not None:
            writer.release()
