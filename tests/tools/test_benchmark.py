"""Speed of one model and of several, by the command line."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil

import pytest
import torch
from PIL import Image

import vil_mm


def test_benchmark(run_here, tiny_config, capsys) -> None:
    run_here('benchmark.py', tiny_config, '--shape', '64', '--repeat', '2', '--device', 'cpu')
    out = capsys.readouterr().out
    assert 'prediction of 1 x 64 x 64 pixels, 2 calls' in out
    for name in ('latency', 'throughput', 'peak memory', 'parameters', 'multiply-adds'):
        assert re.search(rf'^{name} +\d', out, re.MULTILINE)


def test_checkpoint_of_other_classes(run_here, trained, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        run_here('benchmark.py', trained.config, trained.checkpoint, '--device', 'cpu',
                 '--cfg-options', 'model.decode_head.num_classes=5')  # fmt: skip
    printed = capsys.readouterr()
    assert stop.value.code == 2 and not printed.out
    assert 'is for 8 classes in the checkpoint, 5 in the model' in printed.err


def test_compare(run_here, tiny_config, tmp_path, capsys) -> None:
    shutil.copy(tiny_config, tmp_path / 'second.py')
    run_here('compare.py', 'tiny.py', 'second.py', '--shapes', '64', '--repeat', '1',
             '--device', 'cpu', '--out', 'res')  # fmt: skip
    kept = json.loads((tmp_path / 'res/compare.json').read_text())
    assert [row['config'] for row in kept['rows']] == ['tiny', 'second']
    assert all(row['ms'] > 0 for row in kept['rows']) and kept['machine']['repeat'] == 1
    assert (tmp_path / 'res/compare.csv').is_file()
    with Image.open(tmp_path / 'res/compare.png') as picture:
        assert picture.size == (1650, 690)
    assert re.search(r'second +64 +[\d.]+ +[\d.]+', capsys.readouterr().out)


@pytest.mark.slow
def test_detector(run_here, capsys) -> None:
    """Of two stages, whose second one wants proposals."""
    pytest.importorskip('mmdet')
    config = vil_mm.CONFIG_DIR / 'det' / 'mask_rcnn_vil_t_coco_cpu.py'
    run_here('benchmark.py', config, '--shape', '64', '--repeat', '1', '--device', 'cpu')
    counted = re.search(r'multiply-adds +([\d.]+) G', capsys.readouterr().out)
    run_here('get_flops.py', config, '--shape', '64', '--device', 'cpu')
    total = re.search(r'^total +([\d.]+)', capsys.readouterr().out, re.MULTILINE)
    assert float(counted[1]) == pytest.approx(float(total[1]), abs=0.006)  # of two digits
    assert float(counted[1]) > 0


@pytest.mark.parametrize('tool', ['benchmark.py', 'get_flops.py'])
def test_detector_without_mmdetection(run_here, capsys, tool) -> None:
    if importlib.util.find_spec('mmdet'):
        pytest.skip('mmdetection is installed')
    with pytest.raises(SystemExit) as stop:
        run_here(tool, vil_mm.CONFIG_DIR / 'det' / 'atss_vil_t_1x_coco.py', '--device', 'cpu')
    assert stop.value.code == 2
    assert 'this config is for mmdetection' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['benchmark.py', 'missing.py'], 'config not found: missing.py'),
        (['benchmark.py', 'tiny.py', 'missing.pth'], 'missing.pth'),
        (['benchmark.py', 'tiny.py', '--device', 'cuda'], 'PyTorch finds no GPU here'),
        (['benchmark.py', 'tiny.py', '--batch-size', '0'], '--batch-size: expected a whole'),
        (['benchmark.py', 'tiny.py', '--shape', '-3'], '--shape: expected a whole'),
        (['compare.py', 'tiny.py', 'missing.py'], 'config not found: missing.py'),
        (['compare.py', 'tiny.py', 'tiny.py'], 'have the same name'),
        (
            ['compare.py', 'tiny.py', '--cfg-options', 'model=None'],
            'nothing was measured.*no model',
        ),
    ],
)
def test_bad_input(run_here, tiny_config, tmp_path, capsys, args, message) -> None:
    if 'cuda' in args and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises(SystemExit) as stop:
        run_here(*args)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / 'work_dirs').exists()
