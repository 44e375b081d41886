"""Predictions drawn over images, folders of images and videos, written as files."""

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
    """Some images of several could not be read; those of the others are written."""

    exit_code = 1  # of the tool


class Drawer(Protocol):
    """What ``SegInferencer`` and ``ClsInferencer`` have in common."""

    def draw(
        self,
        image: str | Path | np.ndarray,
        *,
        side_by_side: bool = False,
        fixed_size: bool = False,
    ) -> np.ndarray:
        """Draw the prediction for an image: RGB, uint8."""


def plan(source: str | Path, out: str | Path) -> list[tuple[Path, Path]]:
    """Say which files will be read and written, before a model is built.

    Args:
        source: Image, folder or video (by its ending).
        out: For one image or a video a file with such an ending, or a folder; for a folder of
            images a folder. In folders, pictures have the images' names and are PNG; videos are
            MP4.

    Returns:
        Pairs of a source and its target.

    Raises:
        FileNotFoundError: There is no such source.
        ValueError: It holds no image, or ``out`` does not fit it or would replace it.
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
        raise ArgumentError(f'{source} is a folder, so this has to be one, too', out=out)
    return list(zip(images, _distinct_targets(images, out), strict=True))


def draw_all(
    inferencer: Drawer,
    pairs: Sequence[tuple[Path, Path]],
    *,
    side_by_side: bool = False,
    progress: Progress = no_progress,
) -> dict[Path, str]:
    """Predict images and videos and write the pictures.

    Folders are made. A file appears when it is complete. Of several images those that cannot be
    read are left out.

    Args:
        inferencer: A ``SegInferencer`` or ``ClsInferencer``.
        pairs: What :func:`plan` returns.
        side_by_side: Put the image beside its prediction.
        progress: Told how far it is.

    Returns:
        What was wrong with each image that was left out, by its target.

    Raises:
        ValueError: The one file that there is is no image or video, or damaged.
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
    """The file to write for one source: ``out`` itself, or one in the folder ``out``."""
    if out.suffix and not out.is_dir():
        if out.suffix.lower() not in known:
            raise ArgumentError(f'expected a folder or a file *{" or *".join(known)}', out=out)
        target = out
    else:
        target = out / f'{source.stem}{suffix}'
    if target.exists() and source.exists() and target.samefile(source):
        raise ArgumentError('would replace the source itself', out=target)
    return target


def _distinct_targets(images: list[Path], folder: Path) -> list[Path]:
    """One PNG an image."""
    if folder.exists() and folder.samefile(images[0].parent):
        raise ArgumentError('is the folder of the images themselves', out=folder)
    return [folder / f'{name}.png' for name in distinct_names(images)]


def _draw_video(
    inferencer: Drawer, source: Path, target: Path, side_by_side: bool, progress: Progress
) -> None:
    video = mmcv.VideoReader(str(source))
    if video.frame_cnt < 1:  # OpenCV's counts are below 0 for what is no video
        raise ValueError(f'not a video, or one without frames that OpenCV can read: {source}')
    with atomic_write(target) as unfinished, _writer(unfinished, video.fps) as write:
        for frame in track(video, len(video), f'frames of {source.name}', progress):
            write(inferencer.draw(frame, side_by_side=side_by_side, fixed_size=True))


@contextmanager
def _writer(path: Path, fps: float) -> Iterator:
    """A function that adds pictures ``(H, W, 3)``, RGB, to an MP4; the first one sets the size."""
    writer = None

    def write(picture: np.ndarray) -> None:
        nonlocal writer
        height, width = (side + side % 2 for side in picture.shape[:2])  # the codec wants even ones
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
