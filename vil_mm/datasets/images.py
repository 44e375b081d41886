"""Images, folders of images and videos as inputs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')


def list_images(source: str | Path) -> list[Path]:
    """The image itself, or the images in a folder (not in its subfolders), sorted by name.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: The folder holds no image.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(f'no such image or folder: {source} (looked from {Path.cwd()})')
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ValueError(
            f'no image in {source}: expected files with one of the endings '
            f'{", ".join(IMAGE_SUFFIXES)} directly in the folder'
        )
    return found


def distinct_names(paths: Sequence[str | Path]) -> list[Path]:
    """A unique name, without suffix, for the output of each image.

    Normally the file's stem. Images that share a stem get their path below the common folder
    instead, and keep their suffix where only the suffix differs.
    """
    paths = [Path(path) for path in paths]
    folder = os.path.commonpath([path.absolute().parent for path in paths]) if paths else ''
    below = [path.absolute().relative_to(folder) for path in paths]
    short = [Path(path.stem) for path in below]
    longer = [path.with_suffix('') for path in below]
    names = below
    for shorter in (longer, short):
        counts = Counter(str(name).lower() for name in shorter)  # some file systems ignore case
        names = [
            one if counts[str(one).lower()] == 1 else other
            for one, other in zip(shorter, names, strict=True)
        ]
    unique = len({str(name).lower() for name in names}) == len(names)
    return names if unique else below
