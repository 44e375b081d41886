"""An image and its mask, read as the pipeline reads them: what is wrong with them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from PIL import Image

from vil_mm.datasets.checks.findings import Finding, listed
from vil_mm.datasets.checks.parts import REMOTE, Part, file_of, loads_mask
from vil_mm.datasets.file_check import is_cut_off

COPY_AGAIN = 'copy or export it again, or take it out of the set'
ORIENTATION = 0x0112  # the EXIF tag


@dataclass
class Pair:
    """What was read of one sample.

    Attributes:
        image: Its file.
        mask: Its file, if it was read.
        values: Those in the mask's file.
        counts: ``(256,)``, pixels of each label after ``reduce_zero_label`` and ``label_map``.
        findings: What is wrong.
    """

    image: str = ''
    mask: str = ''
    values: np.ndarray | None = None
    counts: np.ndarray | None = None
    findings: list[Finding] = field(default_factory=list)


def read_pair(part: Part, index: int, masks_only: bool = False) -> Pair:
    """Read a sample by the pipeline's own loading transforms.

    Args:
        part: The data set.
        index: Of the sample.
        masks_only: Leave the image out.
    """
    info = copy.deepcopy(part.infos[index])
    pair = Pair(image=str(info.get('img_path', '')))
    for load in part.loads:
        if masks_only and not loads_mask(load):
            continue
        path = file_of(load, info)
        findings = list(_load(part, load, path, info, pair))
        pair.findings += findings
        if any(finding.fatal for finding in findings) or 'skipped' in [f.kind for f in findings]:
            break
    return pair


def unreadable(path: str, error: Exception) -> Finding:
    """A file that cannot be read, with the reason in few words."""
    return Finding('unreadable files', f'{path} cannot be read ({reason(path, error)})', COPY_AGAIN)


def reason(path: str, error: Exception) -> str:
    """Why a file cannot be read: what the file is says more than the error of a decoder."""
    if REMOTE not in path:
        try:
            with open(path, 'rb') as file:
                start = file.read(64)
        except OSError as missing:
            return (missing.strerror or str(missing)).lower()
        if not start:
            return 'the file is empty'
        if is_cut_off(path):
            return 'it is cut off'
        if not any(byte > 126 or byte < 9 for byte in start):
            return 'it is text, not an image'
    lines = str(error).strip().splitlines()
    if not lines or 'cannot identify image file' in lines[0] or 'failed to load' in lines[0]:
        return 'no image of a known format, or a damaged one'
    return lines[0]


def _load(part: Part, load: BaseTransform, path: str, info: dict, pair: Pair) -> Iterator[Finding]:
    """Let one transform read its file, and look at what it has read."""
    try:
        raw = raw_mask(load, path) if loads_mask(load) else None
        loaded = load.transform(info) if raw is None or raw.ndim == 2 else info
    except Exception as error:  # damaged files raise errors of almost any type
        yield unreadable(path, error)
        return
    if raw is not None:
        yield from _check_raw(path, raw, pair.image)
        if raw.ndim == 2:
            yield from _check_mask(part, path, raw, info, pair)
        return
    if loaded is None:  # as ignore_empty=True asks for
        yield Finding(
            'skipped',
            f'{path} cannot be read and is skipped (ignore_empty)',
            COPY_AGAIN,
            fatal=False,
        )
        return
    if 'img' in info:
        yield from _check_image(part, load, path, info['img'])


def _check_image(
    part: Part, load: BaseTransform, path: str, image: np.ndarray
) -> Iterator[Finding]:
    if REMOTE not in path and is_cut_off(path):
        yield Finding('cut off', f'{path} is cut off: its lower part is missing', COPY_AGAIN)
    channels = image.shape[2] if image.ndim == 3 else 1
    if part.channels and channels != part.channels:
        yield Finding(
            'channels',
            f'{path} is loaded with {channels} channels, the model takes {part.channels}',
            "set color_type of LoadImageFromFile ('color' gives 3), or in_channels, mean and std "
            'of the model',
        )
    if getattr(load, 'color_type', '').startswith(('color', 'grayscale')):
        yield from _check_depth(path)


def _check_depth(path: str) -> Iterator[Finding]:
    """Images of 16 bits that are read as 8 bits."""
    if path.lower().endswith(('.png', '.tif', '.tiff')) and REMOTE not in path:
        try:
            with Image.open(path) as image:
                deep = image.mode.startswith(('I', 'F'))
        except Exception:  # bands that Pillow does not know are no matter of this check
            return
        if deep:
            yield Finding(
                'deep images',
                f'{path} has more than 8 bits a channel, of which 8 are read',
                "color_type='unchanged' of LoadImageFromFile keeps all",
                fatal=False,
            )


def raw_mask(load: BaseTransform, path: str) -> np.ndarray:
    """A mask as it is decoded, before it is cast to 8 bits."""
    content = fileio.get(path, backend_args=getattr(load, 'backend_args', None))
    backend = getattr(load, 'imdecode_backend', 'pillow')
    raw = mmcv.imfrombytes(content, flag='unchanged', backend=backend)
    if raw is None:
        raise ValueError('failed to load')
    return raw.squeeze()


def _check_raw(path: str, raw: np.ndarray, image: str) -> Iterator[Finding]:
    """Channels and bits of a mask."""
    if raw.ndim == 3:
        yield Finding('colour masks', *_colours(path, raw, image))
    elif raw.dtype.kind == 'f' and not np.array_equal(raw, np.round(raw)):
        yield Finding(
            'fractions',
            f'{path} holds fractions ({listed(np.unique(raw), 4)})',
            'a pixel has to hold the number of its class: save one channel of 8 bits',
        )
    elif raw.size and (raw.max() > 255 or raw.min() < 0):
        yield Finding(
            'deep masks',
            f'{path} has values of more than 8 bits ({raw.dtype}, {raw.min()} to {raw.max()}), '
            'of which the rest by 256 would be read',
            'save the numbers of classes, 0 to 255, as PNG of 8 bits',
        )
    elif raw.dtype.itemsize > 1:
        yield Finding(
            'wide masks',
            f'{path} is a mask of {8 * raw.dtype.itemsize} bits, whose values fit into 8',
            'it is read as it is; PNG of 8 bits is smaller and what other tools expect',
            fatal=False,
        )


def present(values: np.ndarray) -> np.ndarray:
    """The values that occur, in order; counting is faster than sorting where it works."""
    if values.dtype in (np.uint8, bool):
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def _colours(path: str, raw: np.ndarray, image: str) -> tuple[str, str]:
    colours = raw[..., 0] if raw.shape[2] == 2 else raw[..., :3]
    flat = np.unique(colours.reshape(raw.shape[0] * raw.shape[1], -1), axis=0)
    what = f'{path} has {raw.shape[2]} channels and {len(flat):,} colours; a mask has one channel'
    if _is_mask(image) and len(flat) > 256:
        return what, 'are data_prefix.img_path and data_prefix.seg_map_path swapped?'
    if colours.ndim == 2 or (flat == flat[:, :1]).all():
        return what, 'all its channels are equal: keep one, `Image.open(file).getchannel(0)`'
    return what, 'replace each colour by the number of its class and save one channel of 8 bits'


def _is_mask(image: str) -> bool:
    """Whether what stands for an image has one channel and few values."""
    try:
        with Image.open(image) as opened:
            return opened.mode in ('1', 'L', 'P') and len(opened.getcolors() or ()) in range(1, 65)
    except Exception:  # an image that cannot be read is found elsewhere
        return False


def _check_mask(
    part: Part, path: str, raw: np.ndarray, info: dict, pair: Pair
) -> Iterator[Finding]:
    """Size and values of a mask that the pipeline has loaded."""
    labels = info['gt_seg_map']
    if REMOTE not in path and is_cut_off(path):
        yield Finding('cut off', f'{path} is cut off: its lower part is missing', COPY_AGAIN)
    size = info.get('ori_shape')
    if size is not None and tuple(size) != labels.shape:
        yield _sizes(path, labels.shape, pair.image, tuple(size))
    elif size is not None:
        yield from _check_turned(part, path, pair.image)
    pair.mask = path
    pair.counts = np.bincount(labels.ravel(), minlength=256)
    pair.values = present(raw)
    yield from _check_values(part, path, raw, labels, pair)


def _check_values(
    part: Part, path: str, raw: np.ndarray, labels: np.ndarray, pair: Pair
) -> Iterator[Finding]:
    number = part.num_classes
    if not number:
        return
    labels_there = np.flatnonzero(pair.counts)
    wrong = labels_there[(labels_there >= number) & (labels_there != part.ignore_index)]
    if len(wrong):
        values = present(raw[np.isin(labels, wrong)])
        noun = 'value' if len(values) == 1 else 'values'
        yield Finding(
            'values', f'{path} holds the {noun} {listed(values)}, expected {expected(part)}', ''
        )
    elif not pair.counts[:number].any():
        yield Finding(
            'empty masks',
            f'{path} has no pixel of any class, only {listed(pair.values)}',
            'such an image teaches nothing; take it out of the set if that is not meant',
            fatal=False,
        )


def expected(part: Part) -> str:
    """The values that a mask may hold, in words."""
    number = part.num_classes or 0
    if part.reduce_zero_label:
        return f'1 to {number}, or 0 where there is no class'
    return f'0 to {number - 1}, or {part.ignore_index} where there is no class'


def _sizes(path: str, size: tuple[int, ...], image: str, image_size: tuple[int, ...]) -> Finding:
    width, height = image_size[1], image_size[0]
    what = f'{path} is {_size(size)}, its image {image} {width}x{height}'
    tag = orientation(image)
    if tag > 1 and size == image_size[::-1]:
        return Finding(
            'turned',
            f'{what} as it is loaded, turned by its EXIF tag',
            'turn the masks, too, or load images as they are stored: '
            "color_type='color_ignore_orientation' of LoadImageFromFile, in every pipeline",
        )
    return Finding(
        'sizes', what, 'save masks at the size of their images (nearest neighbour, not JPEG)'
    )


def _size(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape[::-1]))


def _check_turned(part: Part, path: str, image: str) -> Iterator[Finding]:
    """Photos that are turned while their mask is not, where sizes do not tell."""
    load = part.loads[0]
    turns = getattr(load, 'color_type', '') in ('color', 'grayscale')
    tag = orientation(image) if turns else 1
    if tag <= 1:
        return
    with Image.open(image) as opened:
        square = opened.width == opened.height
    if tag < 5 or square:
        yield Finding(
            'perhaps turned',
            f'{image} is turned by its EXIF tag ({tag}) when it is loaded, {path} is not',
            'see by tools/browse_dataset.py whether both fit each other',
            fatal=False,
        )


def orientation(image: str) -> int:
    """EXIF orientation of an image's file, 1 if it has none."""
    if REMOTE in image:
        return 1
    try:
        with Image.open(image) as opened:
            return int(opened.getexif().get(ORIENTATION, 1))
    except Exception:  # formats that Pillow does not know carry no such tag
        return 1
