"""Confusion matrices by the command line, of a checkpoint and of written predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import vil_mm


def test_checkpoint(run_here, trained, tmp_path, capsys) -> None:
    """Its matrix holds every labelled pixel, and its diagonal is the accuracy that was tested."""
    config, checkpoint, _ = trained
    run_here('test.py', config, checkpoint, '--work-dir', 'tested', '--out', 'maps')
    run_here('confusion_matrix.py', config, checkpoint, '--out', 'a.json', '--top', '3')
    printed = capsys.readouterr().out
    assert 'taken for' in printed and 'written: tiny_confusion.png' in printed
    with Image.open(tmp_path / 'tiny_confusion.png') as picture:
        assert min(picture.size) > 800
    run_here('confusion_matrix.py', config, 'maps', '--out', 'b.json', '--show-path', 'b.png')
    kept = [json.loads((tmp_path / f'{name}.json').read_text()) for name in 'ab']
    assert kept[0] == kept[1], 'from the checkpoint as from its label maps'
    matrix = np.array(kept[0]['matrix'])
    (metrics,) = tmp_path.glob('tested/*/*.json')
    accuracy = json.loads(metrics.read_text())['aAcc']
    assert 100 * np.trace(matrix) / matrix.sum() == pytest.approx(accuracy, abs=0.01)


def test_classifier(run_here, trained_classifier, tmp_path, capsys) -> None:
    """The matrix holds every image of the classes, from a checkpoint as from its predictions."""
    config, checkpoint, _ = trained_classifier
    run_here('test.py', config, checkpoint, '--work-dir', 'tested', '--out', 'found')
    run_here('confusion_matrix.py', config, checkpoint, '--out', 'a.json', '--title', 'x')
    assert 'written: tiny_confusion.png' in capsys.readouterr().out
    run_here('confusion_matrix.py', config, 'found/predictions.npz', '--out', 'b.json')
    kept = [json.loads((tmp_path / f'{name}.json').read_text()) for name in 'ab']
    assert kept[0] == kept[1]
    assert np.array(kept[0]['matrix']).sum(axis=1).tolist() == [2, 2, 2]
    assert kept[0]['classes'] == ['red', 'green', 'blue']


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['missing.py', 'x'], 'config not found: missing.py'),
        (['tiny.py', 'missing.pth'], 'checkpoint or result not found: missing.pth'),
        (['tiny.py', '.'], 'no label map'),
        (['tiny.py', 'tiny.py'], 'tiny.py'),
        ([vil_mm.CONFIG_DIR / 'det/atss_vil_t_1x_coco.py', '.'], 'coco.py is for detection'),
        # checked before the test, for which the file is no checkpoint
        (['tiny.py', 'tiny.py', '--cmap', 'muddy'], '--cmap muddy: not a colour map'),
        (['tiny.py', 'tiny.py', '--top', '-1'], '--top: expected a whole number, at least 1'),
        (
            ['tiny.py', 'tiny.py', '--out', 'x.txt'],
            '--out: expected the name of a file *.json',
        ),
        (
            ['tiny.py', 'tiny.py', '--show-path', 'x.bmp'],
            '--show-path: expected the name of a file *.png',
        ),
    ],
)
def test_bad_input(run_here, tiny_config, tmp_path, capsys, args, message) -> None:
    with pytest.raises(SystemExit) as stop:
        run_here('confusion_matrix.py', *args)
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.glob('*.png'))
