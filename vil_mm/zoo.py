"""The model zoo: the records that ``model-index.yml`` lists, one or more for every config.

Imports nothing of the package and nothing heavy: the command lines look names up before torch is
imported, and take this file alone.
"""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml


def _find_config_dir() -> Path:
    """Returns the configs packed into the wheel or, in a working tree, the repository's own."""
    package = Path(__file__).resolve().parent
    packed = package / '.mim' / 'configs'
    return packed if packed.is_dir() else package.parent / 'configs'


CONFIG_DIR: Path = _find_config_dir()


@dataclass(frozen=True)
class ModelRecord:
    """One model of the zoo.

    Attributes:
        name: Unique name, that of the config file without ``.py`` in all but a few records, where
            one config serves several files of weights.
        config: The config file.
        task: 'Semantic Segmentation', 'Image Classification' or 'Object Detection'.
        dataset: What the scores are measured on.
        metrics: Scores in percent by name; empty if none are known.
        metadata: Parameters, FLOPs, training data, where the scores come from.
        official_weights: File of the authors' release that the scores belong to, if it is one.
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
        pattern: Shell pattern, as in ``'upernet_vil_*_ade20k'``.
        task: Only those of one task, see :class:`ModelRecord`.
    """
    return [
        record.name
        for record in _records().values()
        if fnmatch.fnmatch(record.name, pattern.lower()) and task in (None, record.task)
    ]


def find_model(name: str) -> ModelRecord:
    """The record of a name; case does not matter.

    Raises:
        ValueError: There is none; names the closest.
    """
    records = _records()
    if name.lower() in records:
        return records[name.lower()]
    raise ValueError(
        f'no model is called {name!r}: {_closest(name)}python -m vil_mm --models lists all, and '
        'the path of a config file works as well'
    )


def find_config(name_or_path: str | Path) -> Path:
    """A config file, by its path or by a model's name.

    Raises:
        FileNotFoundError: It reads like a path, and there is no such file.
        ValueError: It reads like a name, and there is no such model; or it is a folder.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.is_dir() and str(path).lower() not in _records():
        raise ValueError(f'{path} is a folder: name the config file, *.py, in it')
    if path.suffix or len(path.parts) > 1:
        hint = describe_place(path) or _closest(path.stem).rstrip()
        raise FileNotFoundError(
            f'config not found: {path} (looked from {Path.cwd()})' + (f'; {hint}' if hint else '')
        )
    return find_model(str(path)).config


def describe_place(path: Path) -> str:
    """Says where the package keeps the config of this file name; empty if it has none."""
    record = _records().get(path.stem.lower())
    if record is None or path.suffix != '.py':
        return ''
    root = CONFIG_DIR.parent
    place = record.config.relative_to(root) if root == Path.cwd() else record.config
    return f'{path.stem} is at {place}'


def _closest(name: str) -> str:
    """A question with the names of models that read much like this one, or nothing."""
    close = difflib.get_close_matches(name.lower(), _records(), n=3)
    return f'did you mean {" or ".join(close)}? ' if close else ''


@lru_cache
def _records() -> dict[str, ModelRecord]:
    root = CONFIG_DIR.parent
    index = _load(root / 'model-index.yml')
    entries = [entry for file in index['Import'] for entry in _load(root / file)['Models']]
    return {entry['Name'].lower(): _record(root, entry) for entry in entries}


def _load(path: Path) -> dict:
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # ten times faster, where it is built
    return yaml.load(path.read_text(encoding='utf-8'), loader)


def _record(root: Path, entry: dict) -> ModelRecord:
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
