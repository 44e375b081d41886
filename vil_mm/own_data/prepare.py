"""Turn two folders of photos and masks into recoded masks, file lists and a config."""

from __future__ import annotations

import colorsys
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from mmengine.device import get_device
from PIL import Image

from vil_mm.errors import ArgumentError
from vil_mm.own_data.coding import Coding, choose_coding
from vil_mm.own_data.config import Data, format_config
from vil_mm.own_data.folders import Folders, Photo, inspect_folders
from vil_mm.own_data.masks import COLOUR, TURNS, open_mask, read_codes
from vil_mm.own_data.schedule import plan_schedule
from vil_mm.own_data.split import Split, split_pairs
from vil_mm.own_data.weights import Start, read_start
from vil_mm.progress import Progress, no_progress

RECORD = 'made_from.json'
RARE = 20  # a class with less than one in 20 pixels is rare
PLAIN_NAMES = ('background', 'other', 'others', 'rest', 'unlabelled')  # drawn in grey


@dataclass(frozen=True)
class FinetuneOptions:
    """The user's options, see ``tools/finetune.py --help``."""

    images: str
    masks: str
    classes: Sequence[str] | None = None
    values: Sequence[str] | None = None
    start: str | None = None
    skip_unpaired: bool = False
    seed: int = 0
    max_iters: int | None = None
    crop_size: Sequence[int] | None = None
    batch_size: int | None = None


def prepare(
    options: FinetuneOptions,
    out: Path,
    say: Callable[[str], None] = print,
    progress: Progress = no_progress,
) -> Path:
    """Check the data, recode the masks and write a config, all into a new folder.

    A folder made with the same options is kept, since its config may have been edited.

    Args:
        options: The user's options.
        out: Folder to create; it appears once it is complete.
        say: Called with each line about what was found and decided.
        progress: Called after each pair.

    Returns:
        The config.

    Raises:
        FileNotFoundError, ValueError: Data or weights are unusable; or the folder exists and was
            made with other options.
    """
    if _is_made(options, out):
        say(f'prepared {out / "config.py"} already exists and is kept')
        return out / 'config.py'
    start = read_start(options.start, get_device() == 'cpu')
    folders = inspect_folders(
        Path(options.images),
        Path(options.masks),
        skip_unpaired=options.skip_unpaired,
        progress=progress,
    )
    for line in folders.lines():
        say(line)
    coding = choose_coding(folders.survey, options.classes, options.values)
    for i, line in enumerate(coding.lines()):
        say(f'{"classes " if not i else " " * 8} {line}')
    unfinished = out.with_name(f'.unfinished-{os.getpid()}-{out.name}')
    try:
        pixels, split, how = _write_data(folders, coding, options.seed, unfinished / 'data')
        say(f'split    {len(split["train"])} to train, {len(split["val"])} to validate, {how}')
        say(f'start    {start.line}')
        _write_config(options, folders, coding, pixels, split, start, unfinished, out)
        (unfinished / RECORD).write_text(json.dumps(_make_record(options), indent=1))
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return out / 'config.py'


def _is_made(options: FinetuneOptions, out: Path) -> bool:
    """Whether the folder was already made with the same options.

    Raises:
        ValueError: It exists, but was made with other options or by something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / RECORD).is_file():
        raise ArgumentError(
            'exists, but was not made by this tool: choose another folder', out=str(out)
        )
    before, now = json.loads((out / RECORD).read_text()), _make_record(options)
    for key in now:
        if before.get(key) != now[key]:
            raise ArgumentError(
                f'was made with {key} {before.get(key)}, not {now[key]}: choose another folder, '
                f'or continue with python tools/train.py {out / "config.py"} --resume',
                out=str(out),
            )
    return True


def _make_record(options: FinetuneOptions) -> dict:
    """The options that a folder was made with, as JSON stores them."""
    record = asdict(options)
    for key in ('images', 'masks', 'start'):
        record[key] = record[key] and str(Path(record[key]).resolve())
    return json.loads(json.dumps(record))


def _write_data(
    folders: Folders, coding: Coding, seed: int, target: Path
) -> tuple[np.ndarray, Split, str]:
    """Write recoded masks and file lists; count the pixels of each class."""
    present, pixels = [], np.zeros(256, np.int64)
    suffix = _common_suffix(folders.photos)
    for photo in folders.photos:
        labels = _recode(photo, coding)
        file = target / 'masks' / f'{photo.pair.name.removesuffix(suffix)}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(file)
        pixels += np.bincount(labels.ravel(), minlength=256)
        present.append({int(x) for x in np.unique(labels)} & set(range(len(coding.classes))))
    split, how = split_pairs([photo.pair for photo in folders.photos], present, seed)
    for part, indices in split.items():
        names = [folders.photos[i].pair.name.removesuffix(suffix) for i in indices]
        (target / f'{part}.txt').write_text(''.join(f'{name}\n' for name in names), 'utf-8')
    return pixels[: len(coding.classes)], split, how


def _recode(photo: Photo, coding: Coding) -> np.ndarray:
    mask = open_mask(photo.pair.mask)
    if photo.turn != 1:
        mask = mask.transpose(TURNS[photo.turn])
    return coding.apply(read_codes(mask, coding.kind))


def _common_suffix(photos: Sequence[Photo]) -> str:
    """The suffix of all photos; '' if it varies, in which case the lists contain it."""
    suffixes = {photo.pair.image.suffix for photo in photos}
    return suffixes.pop() if len(suffixes) == 1 else ''


def _write_config(
    options: FinetuneOptions,
    folders: Folders,
    coding: Coding,
    pixels: np.ndarray,
    split: Split,
    start: Start,
    folder: Path,
    out: Path,
) -> None:
    schedule = plan_schedule(
        [photo.size for photo in folders.photos],
        len(split['train']),
        on_cpu=get_device() == 'cpu',
        from_segmentor=start.load_from is not None,
        pretrained=start.pretrained,
        max_iters=options.max_iters,
        crop_size=tuple(options.crop_size) if options.crop_size else None,
        batch_size=options.batch_size,
    )
    data = Data(
        photos=folders.images,
        suffix=_common_suffix(folders.photos),
        classes=coding.classes,
        palette=_choose_palette(folders, coding),
        num_train=len(split['train']),
        num_val=len(split['val']),
        class_weight=class_weights(pixels),
    )
    text = format_config(data, start, schedule, out / 'config.py', options.seed)
    (folder / 'config.py').write_text(text, 'utf-8')


def class_weights(pixels: np.ndarray) -> list[float] | None:
    """Class weights of the loss, if a class is so rare that training would neglect it.

    A weight is the square root of the ratio to the commonest class, at most 10. With the ratio
    itself, a model predicts the rare class everywhere.

    Args:
        pixels: ``(K,)``, pixels of each class.

    Returns:
        K weights of 1 or more; None if every class has at least a twentieth of all pixels.
    """
    if pixels.min() * RARE >= pixels.sum():
        return None
    rarer = pixels.max() / np.maximum(pixels, 1)
    return [round(float(weight), 1) for weight in np.sqrt(rarer).clip(1, 10)]


def _choose_palette(folders: Folders, coding: Coding) -> list[tuple[int, int, int]]:
    """Colours of the classes: those of the masks if they have any, else distinct ones."""
    own = {} if coding.kind != COLOUR else {code: code for code in coding.table}
    own = own or folders.survey.palette
    chosen = {label: own[code] for code, label in coding.table.items() if code in own}
    if len(set(chosen.values())) == len(coding.classes):
        return [_to_rgb(chosen[label]) for label in range(len(coding.classes))]
    return [_pick_colour(label, name) for label, name in enumerate(coding.classes)]


def _to_rgb(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 0xFF, colour & 0xFF


def _pick_colour(label: int, name: str) -> tuple[int, int, int]:
    if name.casefold() in PLAIN_NAMES:
        return (110, 110, 110)
    hue = label * 0.381966 % 1  # the golden angle keeps any two labels apart
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0 if label % 2 else 0.8)
    return round(255 * red), round(255 * green), round(255 * blue)
