"""What --resume takes from a folder, and what a new run refuses to overwrite."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from trainings import same


@pytest.fixture
def copied(trained, tmp_path: Path) -> Path:
    """A copy of a finished run's work dir, which ``--work-dir`` can name."""
    return Path(shutil.copytree(trained.work_dir, tmp_path / 'copy'))


def test_pointer_is_a_name(trained):
    assert (trained.work_dir / 'last_checkpoint').read_text() == 'iter_4.pth'


def resume(run_here: Callable[..., None], trained, work_dir: Path) -> None:
    run_here('train.py', trained.config, '--resume', '--no-validate', '--work-dir', work_dir)


@pytest.mark.parametrize('pointer', ['', ' \n', None, 'iter_9.pth', '\0\0\0'])
def test_without_a_pointer_the_newest_readable_file_is_taken(
    trained, copied, run_here, capfd, pointer
):
    (copied / 'iter_10.pth').write_bytes((copied / 'iter_4.pth').read_bytes()[:5000])
    (copied / 'iter_4.pth').rename(copied / 'iter_3.pth')
    (copied / 'last_checkpoint').unlink()
    if pointer is not None:
        (copied / 'last_checkpoint').write_text(pointer)
    resume(run_here, trained, copied)  # its content is the end of the run
    out, _ = capfd.readouterr()
    assert f'training is finished (4 of 4): {copied}/iter_3.pth' in out


def test_damaged_file_of_the_pointer(trained, copied, run_here, capfd):
    whole = copied / 'iter_4.pth'
    whole.write_bytes(whole.read_bytes()[:5000])
    resume(run_here, trained, copied)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith('warning')]
    assert said == [
        f'warning: {copied}/last_checkpoint names iter_4.pth, which is missing or damaged: '
        f'resuming from {copied}/iter_2.pth, the newest that can be read'
    ]
    assert same(whole, trained.checkpoint)


def test_nothing_readable_is_refused(trained, copied, run_here, capfd):
    for path in copied.glob('*.pth'):
        path.write_bytes(path.read_bytes()[:5000])
    files = sorted(copied.rglob('*'))
    with pytest.raises(SystemExit) as stop:
        resume(run_here, trained, copied)
    err = capfd.readouterr().err
    assert stop.value.code == 2 and len(err.splitlines()) == 1
    assert f'{copied} has checkpoints, but none can be read' in err
    assert sorted(copied.rglob('*')) == files


def test_new_run_does_not_overwrite_an_earlier_one(trained, copied, run_here, capfd):
    files = sorted(copied.rglob('*'))
    with pytest.raises(SystemExit) as stop:
        run_here('train.py', trained.config, '--work-dir', copied)
    err = capfd.readouterr().err
    assert stop.value.code == 2 and len(err.splitlines()) == 1
    assert f'without --resume: {copied} has checkpoints of an earlier run' in err
    assert sorted(copied.rglob('*')) == files


def test_copied_work_dir_resumes_from_its_own_files(trained, copied, run_here, capfd):
    """Also one of mmengine's own, whose pointer and best checkpoint have absolute paths."""
    (copied / 'last_checkpoint').write_text(str(trained.checkpoint))
    before = {path: path.stat().st_mtime_ns for path in trained.work_dir.rglob('*')}
    options = ['--cfg-options', 'train_cfg.max_iters=6']
    run_here('train.py', trained.config, '--resume', '--work-dir', copied, *options)
    out = ''.join(capfd.readouterr())
    assert f'Load checkpoint from {copied}/iter_4.pth' in out
    assert (copied / 'last_checkpoint').read_text() == 'iter_6.pth'
    assert len(list(copied.glob('iter_*.pth'))) == 2, 'max_keep_ckpts'
    assert len(list(copied.glob('best_*.pth'))) == 1
    assert {path: path.stat().st_mtime_ns for path in trained.work_dir.rglob('*')} == before
