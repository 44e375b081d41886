"""Confusion matrices by the command line, of a checkpoint and of written predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from vil_mm.analysis.whole_model import build_model
from vil_mm.engine.launch import read_config


def test_checkpoint(run_here, tiny_config, tmp_path, capsys) -> None:
    """Its matrix holds every labelled pixel, and its diagonal is the accuracy that was tested."""
    model = build_model(read_config(str(tiny_config)))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'random.pth')
    run_here('test.py', 'tiny.py', 'random.pth', '--work-dir', 'tested', '--out', 'maps')
    run_here('confusion_matrix.py', 'tiny.py', 'random.pth', '--out', 'a.json', '--top', '3')
    printed = capsys.readouterr().out
    assert 'taken for' in printed and 'written: tiny_confusion.png' in printed
    with Image.open(tmp_path / 'tiny_confusion.png') as picture:
        assert min(picture.size) > 800
    run_here('confusion_matrix.py', 'tiny.py', 'maps', '--out', 'b.json', '--show-path', 'b.png')
    kept = [json.loads((tmp_path / f'{name}.json').read_text()) for name in 'ab']
    assert kept[0] == kept[1], 'from the checkpoint as from its label maps'
    matrix = np.array(kept[0]['matrix'])
    (metrics,) = tmp_path.glob('tested/*/*.json')
    accuracy = json.loads(metrics.read_text())['aAcc']
    assert 100 * np.trace(matrix) / matrix.sum() == pytest.approx(accuracy, abs=0.01)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['missing.py', 'x'], 'config not found: missing.py'),
        (['tiny.py', 'missing.pth'], 'neither checkpoint nor predictions: missing.pth'),
        (['tiny.py', '.'], 'no label map'),
        (['tiny.py', 'tiny.py'], 'tiny.py'),
    ],
)
def test_bad_input(run_here, tiny_config, tmp_path, capsys, args, message) -> None:
    with pytest.raises(SystemExit) as stop:
        run_here('confusion_matrix.py', *args)
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.glob('*.png'))
