"""Training curves: what is read from the log files of one or several starts, and the PNG."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.visualization import LocalVisBackend
from PIL import Image

from vil_mm.pictures import curves
from vil_mm.pictures.curves import plot_runs, read_run, read_scalars, smooth


def log(work_dir: Path, start: str, losses: dict[int, float], miou: dict[int, float]) -> Path:
    """Write the scalars of one start of a run the way MMEngine does."""
    backend = LocalVisBackend(str(work_dir / start / 'vis_data'))
    for i, loss in losses.items():
        backend.add_scalars(dict(loss=loss, lr=1e-3, iter=i, step=i))
    for i, value in miou.items():
        backend.add_scalars(dict(aAcc=2 * value, mIoU=value, time=0.1, step=i))
    return work_dir / start / 'vis_data/scalars.json'


def test_one_start(tmp_path):
    log(tmp_path, '20250101_000000', {10: 2.0, 20: 1.5}, {20: 33.0})
    scalars = read_scalars(tmp_path)
    assert scalars['loss'] == {10: 2.0, 20: 1.5}
    assert scalars['mIoU'] == {20: 33.0} and scalars['aAcc'] == {20: 66.0}
    assert not {'iter', 'step'} & scalars.keys()


def test_resumed_run_goes_on_where_the_checkpoint_was(tmp_path):
    log(tmp_path, '20250102_000000', {20: 1.0, 30: 0.9}, {30: 50.0})
    log(tmp_path, '20250101_000000', {10: 2.0, 20: 1.5, 40: 7.0}, {10: 20.0, 40: 1.0})
    scalars = read_scalars(tmp_path)
    assert list(scalars['loss'].items()) == [(10, 2.0), (20, 1.0), (30, 0.9)]
    assert list(scalars['mIoU'].items()) == [(10, 20.0), (30, 50.0)]


def test_validation_on_its_own_changes_nothing(tmp_path):
    log(tmp_path, '20250101_000000', {10: 2.0}, {10: 20.0})
    log(tmp_path, '20250102_000000', {}, {0: 99.0})
    assert read_scalars(tmp_path)['mIoU'] == {10: 20.0}


def test_line_cut_short_by_a_kill(tmp_path):
    path = log(tmp_path, '20250101_000000', {10: 2.0}, {})
    path.write_text(path.read_text() + '{"loss": 1.')
    assert read_scalars(tmp_path)['loss'] == {10: 2.0}
    path.write_text(path.read_text() + '\n' + json.dumps(dict(loss=1.0, step=20)))
    with pytest.raises(ValueError, match='line 2 is not JSON'):
        read_scalars(tmp_path)


def test_other_files_and_folders(tmp_path):
    (tmp_path / 'weights.pth').write_bytes(b'PK\x03\x80\n\n')
    with pytest.raises(ValueError, match=r'weights\.pth, line 1 is not JSON'):
        read_run(tmp_path / 'weights.pth')
    (tmp_path / 'program.py').write_text('1 / 0\n')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'run.log').write_text('Checkpoints will be saved to here')
    with pytest.raises(FileNotFoundError, match='every few iterations'):
        read_scalars(tmp_path)


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no training line.*LocalVisBackend'):
        read_scalars(tmp_path)


@pytest.mark.parametrize(
    ('lines', 'config', 'message'),
    [
        (
            'Checkpoints will be saved to work',
            'default_hooks = dict(logger=dict(interval=50))',
            'ended before it logged a loss, which it does every 50 iterations',
        ),
        ('Checkpoints will be saved to work', None, 'it does every few iterations'),
        ('Iter(test) [1/1]', None, 'holds only tests'),
        ('Checkpoints will be saved to w\nIter(train) [10/20]', None, 'LocalVisBackend'),
    ],
)
def test_a_run_without_scalars_is_told_the_truth(tmp_path, lines, config, message):
    start = tmp_path / '20250101_000000'
    start.mkdir()
    (start / '20250101_000000.log').write_text(lines)
    if config:
        (tmp_path / 'run.py').write_text(config)
    with pytest.raises(FileNotFoundError, match=message):
        read_scalars(tmp_path)


def test_smooth():
    assert smooth(np.array([0.0, 3.0, 6.0, 0.0]), 1).tolist() == [1.5, 3.0, 3.0, 3.0]
    assert smooth(np.array([1.0, np.nan, 5.0]), 1).tolist() == [1.0, 3.0, 5.0]
    assert smooth(np.array([4.0, 2.0]), 0).tolist() == [4.0, 2.0]


def test_one_log_alone(tmp_path):
    path = log(tmp_path, '20250101_000000', {10: 2.0, 20: 1.5}, {20: 33.0})
    assert read_run(path) == read_scalars(tmp_path) == read_run(tmp_path)
    (tmp_path / 'other.json').write_text('{"mIoU": 3.0}')
    with pytest.raises(ValueError, match='holds no scalars; name a work dir'):
        read_run(tmp_path / 'other.json')


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert round(picture.info['dpi'][0]) == 150
        assert len(picture.getcolors(maxcolors=100_000)) > 20
        return picture.size


def test_png(tmp_path):
    losses = {i: 2 / i for i in range(1, 60)}
    log(tmp_path / 'run', '20250101_000000', losses, {})
    alone = size_of(plot_runs([tmp_path / 'run'], tmp_path / 'new' / 'loss.png'))
    log(tmp_path / 'run', '20250102_000000', losses, {30: 20.0, 59: 40.0})
    both = size_of(plot_runs([tmp_path / 'run'], tmp_path / 'both.png'))
    assert both[0] == alone[0] == 7.5 * 150 and both[1] > alone[1], 'a panel for the mIoU'


def test_several_runs(tmp_path, monkeypatch):
    """A run that lacks a scalar is left out of its panel; names tell equal work dirs apart."""
    drawn = []
    panel = curves._draw_panel
    monkeypatch.setattr(
        curves, '_draw_panel', lambda *args: (drawn.append(args[1:3]), panel(*args))
    )
    for group in ('a', 'b'):
        miou = {20: 33.0} if group == 'a' else {}
        log(tmp_path / group / 'run', '20250101_000000', {10: 2.0, 20: 1.5}, miou)
    runs = [tmp_path / group / 'run' for group in ('a', 'b')]
    plot_runs(runs, tmp_path / 'out.png', title='two')
    assert [(key, list(own)) for key, own in drawn] == [
        ('loss', ['run (1)', 'run (2)']),
        ('mIoU', ['run (1)']),
    ]
    drawn.clear()
    plot_runs(runs, tmp_path / 'out.png', ['lr'], ['left', 'right'])
    assert drawn == [('lr', {name: {10: 1e-3, 20: 1e-3} for name in ('left', 'right')})]


@pytest.mark.parametrize(
    ('place', 'name'),
    [
        ('run/20250101_000000/vis_data/scalars.json', 'run'),
        ('scalars.json', 'scalars'),
        ('kept/first.json', 'first'),
    ],
)
def test_name_of_a_log(tmp_path, place, name):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"loss": 1.0, "step": 1}')
    assert curves._name(path) == name


def test_name_of_a_log_at_the_root(monkeypatch):
    """There is no third folder above it."""
    monkeypatch.setattr(Path, 'is_file', lambda _: True)
    assert curves._name('/scalars.json') == curves._name('/tmp/scalars.json') == 'scalars'
    assert curves._name('/run/vis_data/scalars.json') == 'scalars'


def test_runs_of_one_name_are_all_drawn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, '_draw_panel', lambda *args: drawn.append(list(args[2])))
    for group in 'abc':
        log(tmp_path / group, '20250101_000000', {10: 2.0}, {})
    runs = [tmp_path / group for group in 'abc']
    plot_runs(runs, tmp_path / 'out.png', legend=['x', 'y', 'x'])
    assert drawn == [['x (1)', 'y', 'x (2)']]
    plot_runs(runs, tmp_path / 'out.png', legend=['x', 'x', 'x (1)'])
    assert len(set(drawn[1])) == 3


def test_what_cannot_be_drawn(tmp_path):
    log(tmp_path, '20250101_000000', {10: 2.0}, {})
    with pytest.raises(ValueError, match="no run has logged 'mIoU'; there are loss, lr"):
        plot_runs([tmp_path], tmp_path / 'out.png', ['mIoU'])
    with pytest.raises(ValueError, match=r'legend=.*: 2 names for 1 runs'):
        plot_runs([tmp_path], tmp_path / 'out.png', legend=['a', 'b'])
    assert not (tmp_path / 'out.png').exists()
