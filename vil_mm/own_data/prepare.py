"""From two folders to a folder with recoded masks, lists and a config."""

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

from vil_mm.own_data.coding import Coding, choose_coding
from vil_mm.own_data.config import Data, write_config
from vil_mm.own_data.folders import Folders, Photo, look_into
from vil_mm.own_data.masks import COLOUR, TURNS, open_mask, read_codes
from vil_mm.own_data.schedule import plan_schedule
from vil_mm.own_data.split import Split, split_pairs
from vil_mm.own_data.weights import Start, read_start
from vil_mm.progress import Progress, no_progress

RECORD = 'made_from.json'
RARE = 20  # a class with less than one in so many pixels is rare
PLAIN_NAMES = ('background', 'other', 'others', 'rest', 'unlabelled')  # drawn in grey


@dataclass(frozen=True)
class Wishes:
    """What a user asks for; see ``tools/finetune.py --help``."""

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
    wishes: Wishes,
    out: Path,
    say: Callable[[str], None] = print,
    progress: Progress = no_progress,
) -> Path:
    """Look at the data, recode the masks and write a config, all into a new folder.

    A folder that the same wishes made before is left as it is: its config may have been changed.

    Args:
        wishes: What the user asks for.
        out: Folder to make; it appears when all of it is written.
        say: Called with each line about what was found and decided.
        progress: Told how far it is.

    Returns:
        The config.

    Raises:
        FileNotFoundError, ValueError: Data or weights do not fit; or there is such a folder, made
            of something else.
    """
    if _is_made(wishes, out):
        say(f'prepared {out / "config.py"} is kept as it is')
        return out / 'config.py'
    start = read_start(wishes.start, get_device() == 'cpu')
    folders = look_into(
        Path(wishes.images),
        Path(wishes.masks),
        skip_unpaired=wishes.skip_unpaired,
        progress=progress,
    )
    for line in folders.lines():
        say(line)
    coding = choose_coding(folders.survey, wishes.classes, wishes.values)
    for i, line in enumerate(coding.lines(_found(folders, coding))):
        say(f'{"classes " if not i else " " * 8} {line}')
    unfinished = out.with_name(f'.unfinished-{os.getpid()}-{out.name}')
    try:
        pixels, split, how = _write_data(folders, coding, wishes.seed, unfinished / 'data')
        say(f'split    {len(split["train"])} to train, {len(split["val"])} to validate, {how}')
        say(f'start    {start.line}')
        _write_config(wishes, folders, coding, pixels, split, start, unfinished, out)
        (unfinished / RECORD).write_text(json.dumps(_record(wishes), indent=1))
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return out / 'config.py'


def _is_made(wishes: Wishes, out: Path) -> bool:
    """Whether the same wishes have made this folder already.

    Raises:
        ValueError: There is such a folder or file, and it was made of something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / RECORD).is_file():
        raise ValueError(f'{out} exists and is not of this tool: choose another folder by --out')
    before = json.loads((out / RECORD).read_text())
    changed = [key for key, value in _record(wishes).items() if before.get(key) != value]
    if changed:
        key = changed[0]
        raise ValueError(
            f'{out} was made with {key} {before.get(key)}, not {_record(wishes)[key]}: choose '
            f'another folder by --out, or go on with python tools/train.py {out / "config.py"}'
        )
    return True


def _record(wishes: Wishes) -> dict:
    """What a folder is made of, as JSON keeps it."""
    record = asdict(wishes)
    for key in ('images', 'masks', 'start'):
        record[key] = record[key] and str(Path(record[key]).resolve())
    return json.loads(json.dumps(record))


def _found(folders: Folders, coding: Coding):
    return folders.survey.colours if coding.kind == COLOUR else folders.survey.codes


def _write_data(
    folders: Folders, coding: Coding, seed: int, target: Path
) -> tuple[np.ndarray, Split, str]:
    """Write the recoded masks and the lists of both parts; count the pixels of each class."""
    present, pixels = [], np.zeros(256, np.int64)
    suffix = _common_suffix(folders.photos)
    for photo in folders.photos:
        labels = _recode(photo, folders, coding)
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


def _recode(photo: Photo, folders: Folders, coding: Coding) -> np.ndarray:
    mask = open_mask(photo.pair.mask)
    kind = coding.kind
    if photo.turn != 1:
        mask = mask.transpose(TURNS[photo.turn])
    return coding.apply(read_codes(mask, kind))


def _common_suffix(photos: Sequence[Photo]) -> str:
    """The ending of all photos; '' if there are several, which then stand in the lists."""
    suffixes = {photo.pair.image.suffix for photo in photos}
    return suffixes.pop() if len(suffixes) == 1 else ''


def _write_config(
    wishes: Wishes,
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
        max_iters=wishes.max_iters,
        crop_size=tuple(wishes.crop_size) if wishes.crop_size else None,
        batch_size=wishes.batch_size,
    )
    data = Data(
        photos=folders.images,
        suffix=_common_suffix(folders.photos),
        classes=coding.classes,
        palette=_palette(folders, coding),
        num_train=len(split['train']),
        num_val=len(split['val']),
        class_weight=class_weights(pixels),
    )
    text = write_config(data, start, schedule, out / 'config.py', wishes.seed)
    (folder / 'config.py').write_text(text, 'utf-8')


def class_weights(pixels: np.ndarray) -> list[float] | None:
    """Weights of the classes in the loss, where one is so rare that it would be given up.

    The square root of how much rarer a class is than the commonest, 10 at most: with the ratio
    itself a model finds the class everywhere.

    Args:
        pixels: ``(K,)``, pixels of each class.

    Returns:
        K weights from 1; None if no class has less than a twentieth of all pixels.
    """
    if pixels.min() * RARE >= pixels.sum():
        return None
    rarer = pixels.max() / np.maximum(pixels, 1)
    return [round(float(weight), 1) for weight in np.sqrt(rarer).clip(1, 10)]


def _palette(folders: Folders, coding: Coding) -> list[tuple[int, int, int]]:
    """Colours of the classes: the masks' own, where they have any, else well apart."""
    own = {} if coding.kind != COLOUR else {code: code for code in coding.table}
    own = own or folders.survey.palette
    chosen = {label: own[code] for code, label in coding.table.items() if code in own}
    if len(set(chosen.values())) == len(coding.classes):
        return [_rgb(chosen[label]) for label in range(len(coding.classes))]
    return [_spread(label, name) for label, name in enumerate(coding.classes)]


def _rgb(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 0xFF, colour & 0xFF


def _spread(label: int, name: str) -> tuple[int, int, int]:
    if name.casefold() in PLAIN_NAMES:
        return (110, 110, 110)
    hue = label * 0.381966 % 1  # the golden angle: any two labels are far apart
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0 if label % 2 else 0.8)
    return round(255 * red), round(255 * green), round(255 * blue)
