"""Confusion matrices by the command line, of a checkpoint and of written predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vil_mm
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


# configs/vil_t_imagenette_cpu.py in small
CLASSIFIER = """
_base_ = {base!r}
work_dir = {work_dir!r}
experiment_name = {name!r}
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, num_layers=2), img_size=32, patch_size=8),
    head=dict(in_channels=32),
)
test_dataloader = dict(
    batch_size=16, num_workers=0, persistent_workers=False, dataset=dict(data_root={data!r})
)
visualizer = dict(name={name!r})
"""


@pytest.mark.slow
def test_classifier(run_here, test_data, tmp_path, capsys) -> None:
    """The matrix holds every image of ten classes, from a checkpoint as from its predictions."""
    base = str(vil_mm.CONFIG_DIR / 'vil_t_imagenette_cpu.py')
    data = str(test_data / 'imagenette_mini')
    work_dir, name = str(tmp_path / 'work'), f'tiny_{tmp_path.name}'
    text = CLASSIFIER.format(base=base, work_dir=work_dir, name=name, data=data)
    (tmp_path / 'cls.py').write_text(text)
    model = build_model(read_config(str(tmp_path / 'cls.py')))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'random.pth')
    run_here('test.py', 'cls.py', 'random.pth', '--out', 'tested')
    run_here('confusion_matrix.py', 'cls.py', 'random.pth', '--out', 'a.json', '--title', 'x')
    assert 'written: cls_confusion.png' in capsys.readouterr().out
    run_here('confusion_matrix.py', 'cls.py', 'tested/predictions.pkl', '--out', 'b.json')
    kept = [json.loads((tmp_path / f'{name}.json').read_text()) for name in 'ab']
    assert kept[0] == kept[1]
    images = [len(list(folder.iterdir())) for folder in sorted(Path(data, 'val').iterdir())]
    assert np.array(kept[0]['matrix']).sum(axis=1).tolist() == images
    assert len(kept[0]['classes']) == 10


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['missing.py', 'x'], 'config not found: missing.py'),
        (['tiny.py', 'missing.pth'], 'checkpoint or result not found: missing.pth'),
        (['tiny.py', '.'], 'no label map'),
        (['tiny.py', 'tiny.py'], 'tiny.py'),
        ([vil_mm.CONFIG_DIR / 'det/atss_vil_t_1x_coco.py', '.'], 'coco.py is for detection'),
        # checked before the test, for which the file is no checkpoint
        (['tiny.py', 'tiny.py', '--cmap', 'muddy'], "--cmap 'muddy' is no colour map"),
        (['tiny.py', 'tiny.py', '--top', '-1'], '--top: expected a whole number from 1 up'),
        (
            ['tiny.py', 'tiny.py', '--out', 'x.txt'],
            '--out: expected the name of a file *.pkl or *.json',
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
