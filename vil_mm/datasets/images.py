"""Images, folders of them and videos as inputs."""

from __future__ import annotations

from pathlib import Path

import mmcv
import numpy as np

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')


def list_images(source: str | Path) -> list[Path]:
    """The image files that a path names: itself, or those right in the folder, by name.

    Raises:
        FileNotFoundError: There is no such file or folder.
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
            f'{", ".join(IMAGE_SUFFIXES)} right in the folder'
        )
    return found


def read_image(path: str | Path) -> np.ndarray:
    """An image ``(H, W, 3)``, uint8, in OpenCV's order BGR; grey and alpha are converted.

    Raises:
        ValueError: The file is no image that OpenCV can read.
    """
    image = mmcv.imread(str(path), channel_order='bgr') if Path(path).stat().st_size else None
    if image is None:
        raise ValueError(f'not an image, or a damaged one: {path}')
    return image
