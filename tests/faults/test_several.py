"""Two processes of one training, one of which is killed or computes NaN.

tests/tools/test_several_processes.py kills one of two that torchrun has started;
tests/tools/test_skipped_updates.py compares what is skipped.
"""

from __future__ import annotations

import pytest
from stalling import STALLED, start_two_stalled
from trainings import load, run, start_two, status_of


@pytest.mark.slow
@pytest.mark.parametrize('rank', [0, 1])
def test_one_is_killed(tmp_path, write_run, rank):
    """Without a launcher, which would end the other."""
    jobs = start_two_stalled(tmp_path, write_run)
    jobs[rank].kill()
    (tmp_path / 'go_on').touch()
    assert status_of(jobs[1 - rank], timeout=60) == 74
    lines = (tmp_path / 'log').read_text().splitlines()
    assert 'Traceback' not in '\n'.join(lines)
    assert any('another process of this training has ended' in line for line in lines)
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == 'iter_3.pth'
    resumed = start_two(tmp_path, 'run.py', '--no-validate', '--resume')
    assert [status_of(job) for job in resumed] == [0, 0]
    assert load(tmp_path / 'work' / 'iter_6.pth')['meta']['iter'] == 6


NAN = """
custom_imports = dict(imports=['vil_mm', 'fault_hooks'])
custom_hooks = _base_.custom_hooks + [dict(type='NanHook', rank={rank}, iteration=4)]
"""


@pytest.mark.slow
@pytest.mark.parametrize('rank', [0, 1])
def test_one_has_nan(tmp_path, write_run, rank):
    write_run(tmp_path, STALLED + NAN.format(rank=rank))
    jobs = start_two(tmp_path, 'run.py', '--no-validate')
    assert [status_of(job) for job in jobs] == [0, 0]
    text = (tmp_path / 'log').read_text()
    assert text.count('update skipped at iteration 5') == 1, text[-3000:]
    state = load(tmp_path / 'work' / 'iter_6.pth')
    assert all(x.isfinite().all() for x in state['state_dict'].values())
    assert state['optimizer']['skips'] == (1, 0)
    assert run(tmp_path, 'run.py', '--no-validate', '--resume') == 0, 'it is finished'
