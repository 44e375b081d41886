"""What can be known to go wrong before a run starts: each check passes or says what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict

from vil_mm.checkpoints import is_official
from vil_mm.checkpoints.loading import ask_to_convert
from vil_mm.checkpoints.reading import CheckpointError, read_state_dict
from vil_mm.datasets import imagenet_wnids
from vil_mm.datasets.checks.known_sets import find_set
from vil_mm.runs.other_backbones import check_other_backbone
from vil_mm.runs.tasks.detection import DETECTION_PAGE

DATA_PAGE = 'docs/datasets.md'
PEERS_PAGE = 'docs/peers.md'
CHECKPOINT_PAGE = 'docs/checkpoints.md'


def check_trains(cfg: Config) -> None:
    """Fail if a config has nothing to train with.

    Raises:
        ValueError: It only evaluates.
    """
    missing = [
        key for key in ('train_cfg', 'train_dataloader', 'optim_wrapper') if not cfg.get(key)
    ]
    if missing:
        raise ValueError(
            f'this config has no {", ".join(missing)}, it only evaluates: python tools/test.py '
            'CONFIG CHECKPOINT'
        )


def check_data(cfg: Config, *splits: str) -> None:
    """Fail if a data folder that the config names is not there or is empty.

    Raises:
        FileNotFoundError: Says which, the tree that is expected and where to read how to get it.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in innermost(loader.dataset) if loader else ():
            folders, files = _places(dataset)
            bad = [folder for folder in folders if not _has_files(folder)]
            bad += [file for file in files if not file.is_file()]
            bad += _missing_classes(dataset, folders) if not bad else []
            if bad:
                expected = [f'{folder}/' for folder in folders] + [str(file) for file in files]
                raise FileNotFoundError(
                    f'{split} data not found: {bad[0]} is missing or empty (current folder: '
                    f'{Path.cwd()}; expected: {", ".join(expected)}). See {_page(dataset)}'
                    f'{_check_hint(dataset)}, or name another folder: --cfg-options '
                    f'{split}_dataloader.dataset.data_root=FOLDER'
                )


def check_checkpoint(path: str) -> None:
    """Fail early if a checkpoint is not there, is no checkpoint, or holds more than data.

    mmengine opens files that torch calls unsafe all the same; here they are refused before. An
    address is refused, too: what it leads to cannot be looked at. So are official weights, whose
    names match nothing of a model.

    Raises:
        FileNotFoundError, ValueError: With the file's name and what is wrong.
    """
    if is_official(read_state_dict(path)):
        raise CheckpointError(ask_to_convert(path, path))


def check_pretrained(model: ConfigDict, at: str = 'model') -> None:
    """Check the file of a backbone's ``Pretrained``; refuse any other, which nothing would check.

    A backbone may name official weights: ``VisionLSTM`` converts them. Other packages' backbones
    have no check of their own, so that their files are compared with them here.

    Raises:
        FileNotFoundError, ValueError: As in :func:`check_checkpoint`, or it is not the backbone's.
    """
    for key, value in model.items():
        if key == 'pretrained' and value:  # short for init_cfg in mmpretrain's models
            _check_entry({'type': 'Pretrained', 'checkpoint': value}, at, model)
        for entry in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(entry, dict):
                continue
            if key == 'init_cfg':
                _check_entry(entry, at, model)
            else:
                check_pretrained(entry, f'{at}.{key}')


def _check_entry(init_cfg: dict, at: str, model: ConfigDict) -> None:
    if init_cfg.get('type') != 'Pretrained':
        return
    if at.endswith('backbone'):
        ours = model.get('type') == 'VisionLSTM'
        page = CHECKPOINT_PAGE if ours else PEERS_PAGE
        try:
            if ours:
                read_state_dict(init_cfg['checkpoint'])
            else:
                check_other_backbone(model, init_cfg)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error}. {page} says where the authors' files come from; to train "
                f'from scratch add --cfg-options {at}.init_cfg=None'
            ) from error
        return
    check_checkpoint(init_cfg['checkpoint'])
    raise ValueError(
        f'{at}.init_cfg names weights that would be loaded without a check: name a whole model by '
        'load_from, a backbone by model.backbone.init_cfg'
    )


def innermost(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The innermost data sets of wrappers such as ConcatDataset and RepeatDataset."""
    inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for wrapped in inner:
        yield from innermost(wrapped)


def _places(dataset: ConfigDict) -> tuple[list[Path], list[Path]]:
    """Folders and list files that a data set reads; mmpretrain's ImageNet names them by split."""
    root = Path(dataset.get('data_root') or '')
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    prefixes = prefix.values() if isinstance(prefix, dict) else [prefix]
    files = [root / dataset.ann_file] if dataset.get('ann_file') else []
    return [root / folder for folder in prefixes], files


def _page(dataset: ConfigDict) -> str:
    return DETECTION_PAGE if 'Coco' in dataset.get('type', '') else DATA_PAGE


def _check_hint(dataset: ConfigDict) -> str:
    root = dataset.get('data_root') or ''
    name = find_set(dataset.get('type', ''), root)
    return (
        f', check yours with `python tools/prepare_data.py {name} --check {root}`' if name else ''
    )


def _has_files(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(True for _ in entries)


def _missing_classes(dataset: ConfigDict, folders: list[Path]) -> list[Path]:
    """Folders that mmpretrain's ImageNet would miss; it has none where a list names the images."""
    split = dataset.get('split', '')
    with_list = dataset.get('ann_file') or Path(dataset.get('data_root') or '', f'meta/{split}.txt')
    own_classes = 'classes' in dataset.get('metainfo', {})
    if dataset.get('type') != 'ImageNet' or own_classes or Path(with_list).is_file():
        return []
    present = {entry.name for entry in os.scandir(folders[0])}
    return [folders[0] / wnid for wnid in imagenet_wnids() if wnid not in present]
