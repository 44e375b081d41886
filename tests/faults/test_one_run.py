"""Two runs in one work dir; tests/runs/test_work_dir.py has disks without locks."""

from __future__ import annotations

import shutil
import socket

import pytest
from stalling import let_go, start_stalled

from vil_mm.files import UNFINISHED


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path, write_run, run_here, capfd):
    job = start_stalled(tmp_path, write_run)
    lock = tmp_path / 'work' / '.lock'
    try:
        assert lock.read_text() == f'{socket.gethostname()} {job.pid}\n'
        for options in ([], ['--resume']):
            with pytest.raises(SystemExit) as stop:
                run_here('train.py', tmp_path / 'run.py', *options)
            err = capfd.readouterr().err
            assert stop.value.code == 2 and 'Traceback' not in err
            who = f'(host {socket.gethostname()}, process {job.pid})'
            assert f'in use by another run {who}' in err.splitlines()[-1]
    finally:
        job.kill()  # its data loader lives on for seconds
        job.join()
    assert lock.exists(), 'stale'
    (tmp_path / 'work' / f'{UNFINISHED}1-iter_9.pth').write_text('half')
    (tmp_path / 'go_on').touch()
    options = ['--resume', '--no-validate', '--cfg-options', 'train_cfg.max_iters=5']
    run_here('train.py', tmp_path / 'run.py', *options)
    assert (tmp_path / 'work' / 'iter_5.pth').is_file()
    assert not lock.exists() and not list((tmp_path / 'work').glob(f'{UNFINISHED}*'))


@pytest.mark.slow
@pytest.mark.parametrize('replaced', [False, True])
def test_the_work_dir_is_deleted_during_the_run(tmp_path, write_run, replaced):
    """Nothing is written where another run may have begun."""
    job = start_stalled(tmp_path, write_run)
    work = tmp_path / 'work'
    shutil.rmtree(work)
    if replaced:
        work.mkdir()
        (work / '.lock').write_text('another run')
    codes, lines = let_go(tmp_path, job)
    assert codes == [74], lines[-20:]
    assert lines[-1].startswith(f'train.py: {work}')
    assert 'was deleted during the run' in lines[-1]
    assert [x.name for x in tmp_path.glob('work/*')] == (['.lock'] if replaced else [])
