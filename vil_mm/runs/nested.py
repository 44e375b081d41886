"""Parts of a config that may be one dict or a list of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmengine.config import ConfigDict


def as_list(value: dict | Sequence[dict] | None) -> list[dict]:
    """One dict or several, as a list."""
    return [value] if isinstance(value, dict) else list(value or ())


def with_keys(key: str, value: dict | Sequence[dict] | None) -> list[tuple[str, dict]]:
    """One dict or several, each with its key in the config."""
    if isinstance(value, dict):
        return [(key, value)]
    return [(f'{key}.{i}', one) for i, one in enumerate(value or ())]


def unwrap_datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets inside wrappers such as ConcatDataset and RepeatDataset."""
    inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for wrapped in inner:
        yield from unwrap_datasets(wrapped)
