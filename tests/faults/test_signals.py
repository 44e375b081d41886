"""Signals: the run saves, ends with a status to test for, and resumes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from stalling import launch_stalled, let_go, start_stalled, start_two_stalled
from trainings import load, run, same, status_of

SIGNALS = [('SIGTERM', 75), ('SIGUSR1', 75), ('SIGINT', 130)]


@pytest.fixture(scope='module')
def whole(tmp_path_factory, write_run) -> Path:
    """The last checkpoint of a run that no signal stopped."""
    folder = tmp_path_factory.mktemp('whole')
    let_go(folder, start_stalled(folder, write_run))
    return folder / 'work' / 'iter_6.pth'


@pytest.mark.slow
@pytest.mark.parametrize('times', [1, 2], ids=['once', 'twice'])
@pytest.mark.parametrize(('name', 'status'), SIGNALS[:2])
def test_signal_saves_and_ends_the_run(tmp_path, write_run, whole, name, status, times):
    """It goes to the workers of the data loader as well, as that of Slurm does."""
    job = start_stalled(tmp_path, write_run)
    for _ in range(times):
        os.killpg(job.pid, getattr(signal, name))
        time.sleep(0.5)
    assert job.is_alive(), 'it finishes its iteration'
    check_stopped(tmp_path, whole, *let_go(tmp_path, job), name, status)


@pytest.mark.slow
def test_interrupt_saves_and_ends_the_run(tmp_path, write_run, whole):
    job = start_stalled(tmp_path, write_run)
    os.killpg(job.pid, signal.SIGINT)
    time.sleep(0.5)
    check_stopped(tmp_path, whole, *let_go(tmp_path, job), 'SIGINT', 130)


def check_stopped(
    folder: Path, whole: Path, codes: list[int], lines: list[str], name: str, status: int
) -> None:
    assert codes == [status] * len(codes), lines[-20:]
    stopped = f'train.py: stopped by {name} at iteration 4: {folder}/work/iter_4.pth is saved'
    assert [line.startswith(stopped) for line in lines].count(True) == 1, lines[-20:]
    assert (folder / 'work' / 'last_checkpoint').read_text() == 'iter_4.pth'
    assert not (folder / 'work' / '.lock').exists()
    if len(codes) == 1:
        assert lines[-1].startswith(stopped)
        assert run(folder, 'run.py', '--no-validate', '--resume') == 0
        assert same(folder / 'work' / 'iter_6.pth', whole)


@pytest.mark.slow
def test_second_interrupt_stops_at_once(tmp_path, write_run):
    job = start_stalled(tmp_path, write_run)
    os.killpg(job.pid, signal.SIGINT)
    time.sleep(1)
    assert job.is_alive()
    os.killpg(job.pid, signal.SIGINT)
    assert status_of(job, timeout=30) == 130
    assert 'Traceback' not in (tmp_path / 'log').read_text()
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == 'iter_3.pth'


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'status', 'ranks'),
    [
        *((*one, ranks) for one in SIGNALS for ranks in ([0, 1], [1], [0])),
        *((*one, [0, 1, 0, 1]) for one in SIGNALS[:2]),
    ],
)
def test_two_processes_stop_together(tmp_path, write_run, whole, name, status, ranks):
    jobs = start_two_stalled(tmp_path, write_run)
    for rank in ranks:
        os.kill(jobs[rank].pid, getattr(signal, name))
    time.sleep(0.5)
    assert all(job.is_alive() for job in jobs)
    check_stopped(tmp_path, whole, *let_go(tmp_path, *jobs), name, status)


@pytest.mark.slow
def test_two_processes_stop_at_once_at_the_second_interrupt(tmp_path, write_run):
    jobs = start_two_stalled(tmp_path, write_run)
    for _ in range(2):
        for job in jobs:
            os.kill(job.pid, signal.SIGINT)
        time.sleep(1)
    assert [status_of(job, timeout=60) for job in jobs] == [130, 130]
    assert 'Traceback' not in (tmp_path / 'log').read_text()


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'status'), SIGNALS)
def test_the_launcher_passes_signals_on(tmp_path, write_run, name, status):
    """tools/dist_train.sh gets the signal; one status comes back."""
    job = launch_stalled(tmp_path, write_run)
    job.send_signal(getattr(signal, name))
    time.sleep(1)
    codes, lines = let_go(tmp_path, job)
    assert codes == [status], lines[-20:]
    assert sum(f'stopped by {name} at iteration 4' in line for line in lines) == 1


@pytest.mark.slow
def test_the_launcher_passes_a_second_interrupt_on(tmp_path, write_run):
    job = launch_stalled(tmp_path, write_run)
    for _ in range(2):
        job.send_signal(signal.SIGINT)
        time.sleep(1)
    assert job.wait(timeout=60) == 130
    assert 'Traceback' not in (tmp_path / 'log').read_text()


EPOCHS = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3)
train_dataloader = dict(sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=_base_.train_pipeline[1:]))
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1, save_best=None))
val_cfg = val_dataloader = val_evaluator = None
log_processor = dict(by_epoch=True)
"""


def write_signalled(write_run, folder: Path, moment: str, iteration: int, more: str = '') -> Path:
    hook = f"dict(type='SignalHook', moment='{moment}', iteration={iteration})"
    imports = "custom_imports = dict(imports=['vil_mm', 'fault_hooks'])"
    hooks = f'custom_hooks = _base_.custom_hooks + [{hook}]'
    interval = 'default_hooks = dict(checkpoint=dict(interval=2))'
    return write_run(folder, '\n'.join((imports, hooks, interval, more)))


@pytest.mark.parametrize(
    ('moment', 'iteration', 'more', 'last'),
    [
        ('val', 2, '', 'iter_2.pth'),
        ('val', 2, 'default_hooks = dict(checkpoint=dict(interval=10))', 'iter_2.pth'),
        ('train', 1, 'optim_wrapper = dict(accumulative_counts=3)', 'iter_3.pth'),
        ('train', 5, EPOCHS, 'iter_6.pth'),
        ('train', 7, EPOCHS, 'epoch_2.pth'),
    ],
    ids=['saved before', 'saved after', 'accumulation', 'epoch', 'end of epoch'],
)
def test_moments(tmp_path, write_run, run_here, capfd, moment, iteration, more, last):
    handler = signal.getsignal(signal.SIGTERM)
    config = write_signalled(write_run, tmp_path, moment, iteration, more)
    with pytest.raises(SystemExit) as stop:
        run_here('train.py', config)
    assert stop.value.code == 75
    work = tmp_path / 'work'
    assert (work / 'last_checkpoint').read_text() == last
    assert f'{work}/{last} is saved' in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == handler
    meta = load(work / last)['meta']
    if 'max_epochs' in more:
        assert (meta['epoch'], meta['iter']) == ((1, 4) if iteration == 5 else (2, 8))
    else:
        assert meta['iter'] == int(last[5])


def test_last_iteration_ends_by_itself(tmp_path, write_run, run_here, capfd):
    run_here('train.py', write_signalled(write_run, tmp_path, 'train', 3))
    assert 'stopped by' not in capfd.readouterr().err
    assert list((tmp_path / 'work').glob('best_*.pth')), 'validation follows'
