"""The model zoo: the records of ``model-index.yml``, one or more per config.

Imports nothing else of the package and nothing heavy: command lines load this file alone to look
up names before torch is imported.
"""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml


def _find_config_dir() -> Path:
    """The configs in the installed wheel, or those of the repository."""
    package = Path(__file__).resolve().parent
    packed = package / '.mim' / 'configs'
    return packed if packed.is_dir() else package.parent / 'configs'


CONFIG_DIR: Path = _find_config_dir()


@dataclass(frozen=True)
class ModelRecord:
    """A model of the zoo.

    Attributes:
        name: Unique name: that of the config without ``.py``, unless one config serves several
            weights.
        config: The config file.
        task: 'Semantic Segmentation', 'Image Classification' or 'Object Detection'.
        dataset: Data set of the scores.
        metrics: Scores in percent by name; empty if unknown.
        metadata: Parameters, FLOPs, training data, source of the scores.
        official_weights: The official file that the scores belong to, if any.
    """

    name: str
    config: Path
    task: str
    dataset: str
    metrics: dict[str, float]
    metadata: dict[str, object]
    official_weights: str | None


def list_models(pattern: str = '*', task: str | None = None) -> list[str]:
    """Names of the zoo's models.

    Args:
        pattern: Shell pattern such as ``'upernet_vil_*_ade20k'``.
        task: Only list models of this task, see :class:`ModelRecord`.
    """
    return [
        record.name
        for record in _records().values()
        if fnmatch.fnmatch(record.name, pattern.lower()) and task in (None, record.task)
    ]


def find_model(name: str) -> ModelRecord:
    """The record with a name, ignoring case.

    Raises:
        ValueError: The name is unknown; the message suggests the closest ones.
    """
    records = _records()
    if name.lower() in records:
        return records[name.lower()]
    raise ValueError(
        f'no model is called {name!r}: {_suggest(name)}python -m vil_mm --models lists all names; '
        'the path of a config file works as well'
    )


def find_config(name_or_path: str | Path) -> Path:
    """Find a config file by its path or by the name of a model.

    Raises:
        FileNotFoundError: The argument looks like a path, but the file does not exist.
        ValueError: It looks like a name, but the model does not exist; or it is a folder.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir() and str(path).lower() not in _records():
        raise ValueError(f'{path} is a folder: name a config file, *.py, in it')
    if path.suffix or len(path.parts) > 1:
        hint = describe_place(path) or _suggest(path.stem).rstrip()
        raise FileNotFoundError(
            f'config not found: {path} (looked from {Path.cwd()})' + (f'; {hint}' if hint else '')
        )
    return find_model(str(path)).config


def describe_place(path: Path) -> str:
    """Where the package keeps the config with this file name; '' if it has none."""
    record = _records().get(path.stem.lower())
    if record is None or path.suffix != '.py':
        return ''
    root = CONFIG_DIR.parent
    place = record.config.relative_to(root) if root == Path.cwd() else record.config
    return f'{path.stem} is at {place}'


def _suggest(name: str) -> str:
    """'did you mean ...? ' with the most similar model names, or ''."""
    close = difflib.get_close_matches(name.lower(), _records(), n=3)
    return f'did you mean {" or ".join(close)}? ' if close else ''


@lru_cache
def _records() -> dict[str, ModelRecord]:
    root = CONFIG_DIR.parent
    index = _load(root / 'model-index.yml')
    entries = [entry for file in index['Import'] for entry in _load(root / file)['Models']]
    return {entry['Name'].lower(): _make_record(root, entry) for entry in entries}


def _load(path: Path) -> dict:
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # ten times faster, if available
    return yaml.load(path.read_text(encoding='utf-8'), loader)


def _make_record(root: Path, entry: dict) -> ModelRecord:
    (result,) = entry['Results']
    return ModelRecord(
        name=entry['Name'],
        config=root / entry['Config'],
        task=result['Task'],
        dataset=result['Dataset'],
        metrics=result['Metrics'],
        metadata=entry['Metadata'],
        official_weights=entry.get('Converted From', {}).get('Weights'),
    )
