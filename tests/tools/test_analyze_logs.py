"""Curves of runs by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.visualization import LocalVisBackend
from PIL import Image


def run_in(folder: Path) -> Path:
    backend = LocalVisBackend(str(folder / '20250101_000000' / 'vis_data'))
    for i in range(1, 40):
        backend.add_scalars({'loss': 2 / i, 'lr': 1e-3, 'iter': i, 'step': i})
    backend.add_scalars({'mIoU': 40.0, 'step': 39})
    return folder


def test_one_run_gets_its_picture(run_here, tmp_path, capsys) -> None:
    work = run_in(tmp_path / 'work')
    run_here('analyze_logs.py', work)
    assert capsys.readouterr().out.strip() == str(work / 'curves.png')
    with Image.open(work / 'curves.png') as picture:
        assert picture.size == (1125, 900)


def test_several_runs(run_here, tmp_path) -> None:
    runs = [run_in(tmp_path / name) for name in 'abc']
    run_here('analyze_logs.py', *runs, '--keys', 'loss', 'mIoU', 'lr', '--legend', 'x', 'y', 'z',
             '--title', 'three', '--out', 'new/three.png')  # fmt: skip
    with Image.open(tmp_path / 'new' / 'three.png') as picture:
        assert picture.size == (1125, 1245)


def test_log_that_was_taken_out_of_its_work_dir(run_here, tmp_path) -> None:
    (log,) = run_in(tmp_path / 'work').glob('*/vis_data/scalars.json')
    log.rename(tmp_path / 'scalars.json')
    run_here('analyze_logs.py', 'scalars.json')
    with Image.open(tmp_path / 'curves.png') as picture:
        assert picture.size == (1125, 900)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['nowhere'], 'run not found: nowhere'),
        (['work', '--keys', 'speed'], "no run has logged 'speed'; there are loss, lr, mIoU"),
        (['work', '--legend', 'a', 'b'], '--legend a b: 2 names for 1 runs'),
    ],
)
def test_bad_input(run_here, tmp_path, capsys, args, message) -> None:
    run_in(tmp_path / 'work')
    with pytest.raises(SystemExit) as stop:
        run_here('analyze_logs.py', *args)
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.glob('**/*.png'))


def test_real_run_that_was_too_short_and_its_test(trained, run_here, tmp_path, capsys) -> None:
    options = ['train_cfg.max_iters=1', 'default_hooks.logger.interval=9', 'work_dir=short']
    run_here('train.py', trained.config, '--no-validate', '--cfg-options', *options)
    run_here('test.py', trained.config, trained.checkpoint, '--cfg-options', 'work_dir=short')
    assert len(list(tmp_path.glob('short/test/*/*.json'))) == 1, 'the metrics, apart'
    assert len(list(tmp_path.glob('short/*/*.log'))) == 1, 'that of the training'
    for folder, message in (('short', 'every 9 iterations'), ('short/test', 'holds only tests')):
        with pytest.raises(SystemExit) as stop:
            run_here('analyze_logs.py', folder)
        assert stop.value.code == 2 and message in capsys.readouterr().err
