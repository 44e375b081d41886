"""The published recipes as tables: what the configs are compared with, never made from them."""

from __future__ import annotations

import ast
import csv
from pathlib import Path
from types import SimpleNamespace


def read_table(path: Path) -> dict[str, SimpleNamespace]:
    """The rows of a CSV file by their first column; an empty field is None."""
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    key = next(iter(rows[0]))
    return {row[key]: SimpleNamespace(**{k: _value(v) for k, v in row.items()}) for row in rows}


def _value(text: str) -> float | str | None:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError):
        return text
