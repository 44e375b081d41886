"""What a run prints: progress, in few lines. All that mmengine has to tell is in the log file."""

from __future__ import annotations

import logging
import warnings

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from vil_mm.runs import distributed
from vil_mm.runs.build import build_runner
from vil_mm.runs.runners import ShortFlexibleRunner
from vil_mm.runs.screen import FILE_ONLY, shorten_screen

# what a stranger's log is read for, and what the screen is spared
DETAILS = ('System environment:', 'optim_wrapper = dict(', 'before_train_iter:', 'paramwise_option')
NOISE = (*DETAILS, 'OneDL', 'UserWarning', 'prefix is not set', 'deprecated', 'weights_only')


def test_a_training_starts_in_few_lines(trained):
    before, loss, _ = (trained.config.parent / 'screen.txt').read_text().partition('loss: ')
    assert loss and len(before.splitlines()) <= 20, before
    assert not [word for word in NOISE if word in before]
    (log,) = trained.work_dir.glob('*/*.log')
    assert str(log) in before, 'where to read the rest'
    assert not [word for word in DETAILS if word not in log.read_text()]


def test_so_does_a_test(trained, run_here, capfd, tmp_path):
    run_here('test.py', trained.config, trained.checkpoint, '--work-dir', tmp_path / 'test')
    screen = ''.join(capfd.readouterr())
    before, score, _ = screen.partition('mIoU: ')
    assert score and len(before.splitlines()) <= 30, before  # the table of classes is among them
    assert not [word for word in NOISE if word in screen]
    (log,) = (tmp_path / 'test').glob('*/*.log')
    assert 'System environment:' in log.read_text() and 'Config:' in log.read_text()


def test_and_a_resumed_training(trained, run_here, capfd, tmp_path):
    """mmengine reads its own checkpoint, log history and all, without a word of warning."""
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'iter_4.pth').symlink_to(trained.checkpoint)
    (tmp_path / 'work' / 'last_checkpoint').write_text(str(tmp_path / 'work' / 'iter_4.pth'))
    options = ['--cfg-options', 'train_cfg.max_iters=5']
    run_here('train.py', trained.config, '--resume', '--work-dir', 'work', *options)
    screen = ''.join(capfd.readouterr())
    before, loss, _ = screen.partition('loss: ')
    assert loss and 'iter: 4' in before and len(before.splitlines()) <= 20, before
    assert not [word for word in NOISE if word in screen]


def test_without_a_file_the_screen_has_all(tmp_path, capfd):
    logger = MMLogger('screen_only')
    shorten_screen(logger)
    logger.info('Config:\nx = 1')
    assert 'x = 1' in capfd.readouterr().out
    logger = MMLogger('both', log_file=str(tmp_path / 'log'))
    shorten_screen(logger)
    for start in FILE_ONLY:
        logger.info(f'{start} 1')
    logger.warning('of a user')
    assert 'of a user' in (tmp_path / 'log').read_text()
    assert all(f'{start} 1' in (tmp_path / 'log').read_text() for start in FILE_ONLY)
    shown = capfd.readouterr().out
    assert 'of a user' in shown and not [start for start in FILE_ONLY if f'{start} 1' in shown]


def test_the_other_runner_too(tiny_config):
    cfg = Config.fromfile(tiny_config)
    cfg.runner_type, cfg.strategy = 'FlexibleRunner', {'type': 'SingleDeviceStrategy'}
    runner = build_runner(cfg)
    assert type(runner) is ShortFlexibleRunner
    (screen,) = [h for h in runner.logger.handlers if type(h) is logging.StreamHandler]
    record = logging.LogRecord('', logging.INFO, '', 0, 'Config:\nx', None, None)
    assert not screen.filter(record)


@pytest.mark.parametrize('text', ['Iter(train) [1/2] loss: 1', 'per class results:', '\n+--+'])
def test_progress_is_no_noise(text):
    assert not text.startswith(FILE_ONLY)


@pytest.mark.parametrize(('rank', 'number'), [('0', 1), ('1', 0)])
def test_one_of_several_processes_warns(monkeypatch, rank, number):
    monkeypatch.setenv('RANK', rank)
    monkeypatch.setattr(distributed, 'join_processes', lambda cfg: None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        distributed.prepare_processes(Config({'launcher': 'pytorch'}))
        warnings.warn('of a user', stacklevel=1)
    assert len(caught) == number
