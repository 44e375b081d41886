"""Find the checkpoint to resume from, and protect the checkpoints of an earlier run."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from mmengine.config import Config

from vil_mm.checkpoints.reading import CheckpointError, find_state_dict, read_checkpoint
from vil_mm.checkpoints.resumable import check_resumable
from vil_mm.engine.checkpoint_hook import POINTER
from vil_mm.errors import ArgumentError, shorten


def find_last_checkpoint(cfg: Config) -> tuple[str | None, str | None]:
    """The checkpoint that ``last_checkpoint`` names, or else the newest one that can be resumed.

    Only the name in ``last_checkpoint`` counts, not its folder: a work dir that was moved or copied
    is resumed from its own files. The newest checkpoint is the one with the highest iteration or
    epoch in its name.

    Returns:
        Path, and one line that says why ``last_checkpoint`` was not used; None and None if the run
        has no checkpoint.

    Raises:
        FileNotFoundError: ``last_checkpoint`` names a file, but there is no checkpoint.
        CheckpointError: There are checkpoints, but none can be resumed, see ``check_resumable``.
    """
    pointer, folder = Path(cfg.work_dir, POINTER), _folder(cfg)
    said = pointer.read_text(errors='replace').strip(' \n\t\0') if pointer.is_file() else ''
    if '://' in said:
        return said, None
    named = folder / Path(said).name if said else None
    problem = _problem(named, cfg) if named else None
    if named and not problem:
        return str(named), None
    others = [path for path in _numbered(cfg) if path != named]
    for path in others:
        if not _problem(path, cfg):
            why = f'names {named.name}, which is missing or damaged' if named else 'is missing'
            why = why if said or not pointer.is_file() else 'is empty'
            return str(path), f'{pointer} {why}: resuming from {path}, the newest that can be read'
    if named and not named.exists() and not others:
        raise FileNotFoundError(
            f'checkpoint not found: {named}, which {pointer} names; to start over, delete {pointer}'
        )
    if named or others:
        raise CheckpointError(
            f'{folder} has checkpoints, but none can be read: '
            f'{problem or _problem(others[0], cfg)}; to start over, choose another work dir'
        )
    return None, None


def refuse_to_overwrite(cfg: Config) -> None:
    """Fail if a new run would overwrite the checkpoints of an earlier one.

    Raises:
        ValueError: The work dir has checkpoints.
    """
    names = [path.name for path in [*_numbered(cfg), *_folder(cfg).glob('best_*.pth')]]
    if names:
        raise ArgumentError(
            f'{_folder(cfg)} has checkpoints of an earlier run ({shorten(names, most=3)}): '
            'resume it, or choose another work dir',
            resume=False,
        )


def _folder(cfg: Config) -> Path:
    """Where the run's ``CheckpointHook`` writes."""
    work_dir, out_dir = Path(cfg.work_dir), _options(cfg).get('out_dir')
    if not out_dir or '://' in str(out_dir) or Path(out_dir) == work_dir:
        return work_dir
    return Path(out_dir, work_dir.resolve().name)


def _options(cfg: Config) -> dict:
    return (cfg.get('default_hooks') or {}).get('checkpoint') or {}


def _numbered(cfg: Config) -> list[Path]:
    """Checkpoints that can be resumed, the highest number first."""
    own = _options(cfg).get('filename_tmpl') or 'iter_{}.pth'
    patterns = {'iter_*.pth', 'epoch_*.pth', re.sub(r'\{[^}]*\}', '*', own)}
    found = {path for pattern in patterns for path in _folder(cfg).glob(pattern)}
    return sorted(found, key=_number, reverse=True)


def _number(path: Path) -> int:
    return int((re.findall(r'\d+', path.stem) or ['0'])[-1])


def _problem(path: Path, cfg: Config) -> str | None:
    """Why a run cannot be resumed from a checkpoint, in one line; None if it can."""
    if path.is_dir():  # of a strategy that shards weights
        return None
    if not path.is_file():
        return f'checkpoint not found: {path}'
    found, with_schedulers = path.stat(), bool(cfg.get('param_scheduler'))
    form = None if cfg.get('runner_type') else with_schedulers  # a strategy has its own form
    return _problem_of_file(path, found.st_size, found.st_mtime_ns, form)


@functools.lru_cache(maxsize=64)
def _problem_of_file(path: Path, size: int, changed: int, form: bool | None) -> str | None:
    """Reading takes long, and a run asks several times."""
    try:
        content = read_checkpoint(str(path))
        if form is not None:
            check_resumable(content, str(path), with_schedulers=form)
            find_state_dict(content, str(path))
    except (OSError, CheckpointError) as error:
        return str(error)
    return None
