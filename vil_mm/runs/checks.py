"""Checks before a run: data folders, checkpoints and pretrained weights."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.config import Config, ConfigDict

from vil_mm.checkpoints import is_official
from vil_mm.checkpoints.loading import ask_to_convert
from vil_mm.checkpoints.reading import CheckpointError, read_state_dict
from vil_mm.datasets import imagenet_wnids
from vil_mm.datasets.checks.known_sets import find_set
from vil_mm.runs.nested import unwrap_datasets
from vil_mm.runs.other_backbones import check_other_backbone
from vil_mm.runs.tasks.detection import DETECTION_PAGE

DATA_PAGE = 'docs/datasets.md'
PEERS_PAGE = 'docs/peers.md'
CHECKPOINT_PAGE = 'docs/checkpoints.md'


def check_trains(cfg: Config) -> None:
    """Fail if a config cannot train.

    Raises:
        ValueError: The config only evaluates.
    """
    missing = [
        key for key in ('train_cfg', 'train_dataloader', 'optim_wrapper') if not cfg.get(key)
    ]
    if missing:
        raise ValueError(
            f'this config has no {", ".join(missing)}, so it can only be tested: python '
            'tools/test.py CONFIG CHECKPOINT'
        )


def check_data(cfg: Config, *splits: str) -> None:
    """Fail if a data folder of the config is missing or empty.

    Raises:
        FileNotFoundError: Names it, the expected layout and the page that explains it.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in unwrap_datasets(loader.dataset) if loader else ():
            folders, files = _places(dataset)
            bad = [folder for folder in folders if not _has_files(folder)]
            bad += [file for file in files if not file.is_file()]
            bad += _missing_classes(dataset, folders) if not bad else []
            if bad:
                expected = [f'{folder}/' for folder in folders] + [str(file) for file in files]
                raise FileNotFoundError(
                    f'{split} data not found: {bad[0]} is missing or empty (current folder: '
                    f'{Path.cwd()}; expected: {", ".join(expected)}). See {_page(dataset)}'
                    f'{_suggest_check(dataset)}, or set '
                    f'{split}_dataloader.dataset.data_root=FOLDER'
                )


def check_checkpoint(path: str) -> None:
    """Fail early if a checkpoint is missing, invalid, or holds more than data.

    mmengine would open files that torch calls unsafe. URLs are rejected because their content
    cannot be checked, and official weights because their names match no model.

    Raises:
        FileNotFoundError, ValueError: Names the file and what is wrong.
    """
    if is_official(read_state_dict(path)):
        raise CheckpointError(ask_to_convert(path, path))


def check_pretrained(model: ConfigDict, at: str = 'model') -> None:
    """Check the ``Pretrained`` file of a backbone; reject those of other parts of the model.

    ``VisionLSTM`` also takes official weights, which it converts. Other packages' backbones do not
    check their files, so these are compared here.

    Raises:
        FileNotFoundError, ValueError: As :func:`check_checkpoint`, or the file does not match.
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
                f"{error}. {page} says where to get the authors' files; to train from scratch, set "
                f'{at}.init_cfg=None'
            ) from error
        return
    check_checkpoint(init_cfg['checkpoint'])
    raise ValueError(
        f'{at}.init_cfg names weights that would be loaded without a check: use load_from for a '
        'whole model, model.backbone.init_cfg for a backbone'
    )


def _places(dataset: ConfigDict) -> tuple[list[Path], list[Path]]:
    """Folders and list files of a data set; mmpretrain's ImageNet names them by ``split``."""
    root = Path(dataset.get('data_root') or '')
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    prefixes = prefix.values() if isinstance(prefix, dict) else [prefix]
    files = [root / dataset.ann_file] if dataset.get('ann_file') else []
    return [root / folder for folder in prefixes], files


def _page(dataset: ConfigDict) -> str:
    return DETECTION_PAGE if 'Coco' in dataset.get('type', '') else DATA_PAGE


def _suggest_check(dataset: ConfigDict) -> str:
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
    """Class folders that mmpretrain's ImageNet lacks; it needs none if a list names the images."""
    split = dataset.get('split', '')
    with_list = dataset.get('ann_file') or Path(dataset.get('data_root') or '', f'meta/{split}.txt')
    own_classes = 'classes' in dataset.get('metainfo', {})
    if dataset.get('type') != 'ImageNet' or own_classes or Path(with_list).is_file():
        return []
    present = {entry.name for entry in os.scandir(folders[0])}
    return [folders[0] / wnid for wnid in imagenet_wnids() if wnid not in present]
