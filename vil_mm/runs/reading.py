"""Read a config and merge overrides."""

from __future__ import annotations

import sys
from pathlib import Path

from mmengine.config import Config

from vil_mm.errors import named_line
from vil_mm.runs.overrides import describe_lost_data_root, merge_overrides
from vil_mm.zoo import describe_place, find_config


def read_config(
    path: str | Path,
    *,
    work_dir: str | None = None,
    launcher: str = 'none',
    options: dict | None = None,
) -> Config:
    """Read a config file, merge overrides and set the work dir.

    Args:
        path: The config file, or the name of a model of the zoo.
        work_dir: Folder to write to; by default the config's own or ``work_dirs/<config name>``.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        options: Overrides such as ``{'optim_wrapper.optimizer.lr': 1e-4}``.

    Raises:
        FileNotFoundError: The config does not exist.
        ValueError: The file is not a config, no model has that name, or an override is invalid.
    """
    path = str(find_config(path))
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program and may raise anything
        said = named_line(error) + _find_base(error)
        raise ValueError(f'{path} cannot be read as a config: {said}') from error
    _check_form(cfg, path)
    if lost := describe_lost_data_root(cfg):
        print(f'warning: {path}: {lost}', file=sys.stderr)
    cfg.launcher = launcher
    try:
        merge_overrides(cfg, options or {})
    except ValueError as error:
        raise ValueError(f'an override does not fit {path}: {error}') from error
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f'an override does not fit {path}: {named_line(error)}') from error
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(path).stem))
    return cfg


def _check_form(cfg: Config, path: str) -> None:
    model = cfg.get('model') or {}
    backbone = model.get('backbone') or {} if isinstance(model, dict) else {}
    for key, value in (('model', model), ('model.backbone', backbone)):
        if not isinstance(value, dict):
            raise ValueError(f'{path}: {key} is one {type(value).__name__}, expected a dict')


def _find_base(error: Exception) -> str:
    """The new place of a missing ``_base_``, if it is a config of the package that was moved."""
    missing = error.filename if isinstance(error, FileNotFoundError) else None
    place = describe_place(Path(missing)) if missing else ''
    return f'; {place}' if place else ''
