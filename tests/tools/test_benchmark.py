"""Speed of one model and of several, by the command line."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from PIL import Image

from vil_mm.analysis.whole_model import build_model
from vil_mm.engine.launch import read_config


def test_benchmark(run_here, tiny_config, capsys) -> None:
    run_here('benchmark.py', tiny_config, '--shape', '64', '--repeat', '2', '--device', 'cpu')
    out = capsys.readouterr().out
    assert 'prediction of 1 x 64 x 64 pixels, 2 calls' in out
    for name in ('latency', 'throughput', 'peak memory', 'parameters', 'multiply-adds'):
        assert re.search(rf'^{name} +\d', out, re.MULTILINE)


def test_checkpoint_of_other_classes(run_here, tiny_config, tmp_path, capsys) -> None:
    model = build_model(read_config(str(tiny_config)))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'eight.pth')
    with pytest.raises(SystemExit) as stop:
        run_here('benchmark.py', 'tiny.py', 'eight.pth', '--device', 'cpu',
                 '--cfg-options', 'model.decode_head.num_classes=5')  # fmt: skip
    printed = capsys.readouterr()
    assert stop.value.code == 2 and not printed.out
    assert 'is for 8 classes in the checkpoint, 5 in the model' in printed.err


def test_compare(run_here, tiny_config, tmp_path, capsys) -> None:
    shutil.copy(tiny_config, tmp_path / 'second.py')
    run_here('compare.py', 'tiny.py', 'second.py', '--shapes', '64', '96', '--repeat', '1',
             '--device', 'cpu', '--out', 'res')  # fmt: skip
    kept = json.loads((tmp_path / 'res/compare.json').read_text())
    assert [row['config'] for row in kept['rows']] == ['tiny', 'tiny', 'second', 'second']
    assert all(row['ms'] > 0 for row in kept['rows']) and kept['machine']['repeat'] == 1
    assert (tmp_path / 'res/compare.csv').is_file()
    with Image.open(tmp_path / 'res/compare.png') as picture:
        assert picture.size == (1650, 690)
    assert re.search(r'second +96 +[\d.]+ +[\d.]+', capsys.readouterr().out)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['benchmark.py', 'missing.py'], 'config not found: missing.py'),
        (['benchmark.py', 'tiny.py', 'missing.pth'], 'missing.pth'),
        (['benchmark.py', 'tiny.py', '--device', 'cuda'], 'PyTorch finds no GPU here'),
        (['benchmark.py', 'tiny.py', '--batch-size', '0'], '--batch-size 0: expected 1'),
        (['benchmark.py', 'tiny.py', '--shape', '-3'], 'expected a side'),
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
