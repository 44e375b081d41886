"""The command that checks data sets: what it prints, its exit codes, Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vil_mm.datasets.checks import tree


@pytest.fixture
def root(tmp_path) -> Path:
    """One pair in each split of CamVid."""
    for split in ('train', 'val'):
        for folder, file in (('images', 'a.jpg'), ('annotations', 'a.png')):
            path = tmp_path / 'set' / folder / split / file
            path.parent.mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    return tmp_path / 'set'


@pytest.fixture
def check(run_here, capsys):
    """Runs the tool; returns its exit code, what it printed and its errors."""

    def run(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            run_here('prepare_data.py', *args)
        return exit_.value.code, *capsys.readouterr()

    return run


def test_fine(check, root) -> None:
    code, out, err = check('camvid', '--check', root, '--any-count', '--workers', 2)
    assert (code, err) == (0, '')
    assert out.splitlines()[-1] == f'CamVid in {root}: no problems (decoded 4 files)'


def test_problems(check, root) -> None:
    (root / 'images/val/a.jpg').write_bytes(b'')
    code, out, _ = check('camvid', '--check', root, '--any-count', '--quick', '--workers', 1)
    assert code == 1 and 'empty files: 1\n    images/val/a.jpg\n  to fix: ' in out
    last = 'PROBLEMS: 1 empty files (read headers and ends of 4 files)'
    assert out.splitlines()[-1].endswith(last)


@pytest.mark.parametrize(
    'args, words',
    (
        (('camvid', '--check', 'nowhere'), 'folder not found: nowhere'),
        (('coco', '--check', '.'), 'coco'),
        (('camvid',), '--check'),
        (('camvid', '--check', '.', '--workers', '0'), 'expected a whole number, at least 1'),
    ),
)
def test_cannot_check(args: tuple[str, ...], words: str, check) -> None:
    code, _, err = check(*args)
    assert code == 2 and words in err


def test_interrupt(check, root, monkeypatch) -> None:
    def interrupt(*args) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tree, 'check_pairs', interrupt)
    code, out, err = check('camvid', '--check', root, '--any-count', '--workers', 1)
    assert (code, out) == (130, '') and 'interrupted' in err
