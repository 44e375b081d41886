"""Every fault of a data set is named before the run: file, value and cure."""

from __future__ import annotations

import re
from pathlib import Path

import faulty_data  # noqa: F401  with faulty_masks, fills the lists
import pytest
from mmengine.config import Config
from spoiling import ERRORS, RIGHT, WARNINGS, Fault

from vil_mm.datasets import DatasetError
from vil_mm.runs.data import check_samples, inspect_data


def named(cases: list) -> list:
    return [pytest.param(*case, id=f'{i}-{case[0].__name__}') for i, case in enumerate(cases)]


@pytest.mark.parametrize(('fault', 'words'), named(ERRORS))
def test_error(root: Path, cfg: Config, fault: Fault, words: str) -> None:
    fault(root, cfg)
    with pytest.raises(DatasetError) as error:
        check_samples(cfg, 'train', 'val')
    lines = str(error.value).splitlines()
    assert any(re.search(words, line) for line in lines), lines
    assert len(lines) <= 2  # one a split


@pytest.mark.parametrize('change', RIGHT)
def test_right_sets_pass(root: Path, cfg: Config, change: Fault, capsys) -> None:
    change(root, cfg)
    check_samples(cfg, 'train', 'val')
    assert capsys.readouterr().err == ''
    assert not [r for r in inspect_data(cfg, 'train', 'val', whole=True) if r.groups]


@pytest.mark.parametrize(('fault', 'words'), named(WARNINGS))
def test_warning(root: Path, cfg: Config, fault: Fault, words: str, capsys) -> None:
    fault(root, cfg)
    check_samples(cfg, 'train', 'val')
    lines = capsys.readouterr().err.splitlines()
    assert any(re.search(words, line) for line in lines), lines
    assert len(lines) <= 2
