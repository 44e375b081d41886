"""A training logs to TensorBoard and Weights & Biases; its lines tell speed, ETA and memory."""

from __future__ import annotations

import json
import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_scalars_arrive(run_here, tiny_config, tmp_path) -> None:
    """Of a run with gradient accumulation, which has no part in the images of an iteration."""
    run_here('train.py', tiny_config, '--no-validate', '--cfg-options', 'train_cfg.max_iters=2',
             'optim_wrapper.accumulative_counts=2', 'log_to=tensorboard')  # fmt: skip
    (scalars,) = tmp_path.glob('work/*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    (events,) = tmp_path.glob('work/*/vis_data/events.out.tfevents.*')
    board = EventAccumulator(str(events))
    board.Reload()
    for name in ('loss', 'images_per_s', 'memory', 'lr'):
        written = {event.step: event.value for event in board.Scalars(name)}
        assert written == pytest.approx({line['step']: line[name] for line in lines}, rel=1e-5)
    assert [line['images_per_s'] * line['time'] for line in lines] == pytest.approx([2, 2])
    (log,) = tmp_path.glob('work/*/*.log')
    line = next(line for line in log.read_text().splitlines() if 'Iter(train) [2/2]' in line)
    assert re.search(r'eta: 0:00:00 .*images/s: \d+\.\d', line) and 'memory: ' in line


@pytest.mark.slow
def test_weights_and_biases(run_here, tiny_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    run_here('train.py', tiny_config, '--no-validate', '--cfg-options', 'train_cfg.max_iters=1',
             'log_to=tensorboard,wandb')  # fmt: skip
    assert len(list(tmp_path.glob('work/*/vis_data/events.out.tfevents.*'))) == 1
    runs = list(tmp_path.glob('work/*/vis_data/wandb/offline-run-*/*.wandb'))
    assert len(runs) == 1 and runs[0].stat().st_size > 0


def test_unknown_logger(run_here, tiny_config, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        run_here('train.py', tiny_config, '--cfg-options', 'log_to=paper')
    assert stop.value.code == 2 and not (tmp_path / 'work').exists()
    assert "log_to='paper' is unknown" in capsys.readouterr().err
