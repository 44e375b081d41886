"""Runs that wait in their fourth iteration until they may go on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from trainings import GLOO, ROOT, start, start_two, status_of

# six iterations, saved after three; a process loads the data
STALLED = """
custom_imports = dict(imports=['vil_mm', 'fault_hooks'])
custom_hooks = _base_.custom_hooks + [dict(type='StallHook')]
train_dataloader = dict(num_workers=1)
train_cfg = dict(max_iters=6)
default_hooks = dict(checkpoint=dict(interval=3))
val_cfg = val_dataloader = val_evaluator = None
"""


def start_stalled(folder: Path, write_run: Callable, *args: str) -> BaseProcess:
    write_run(folder, STALLED)
    job = start(folder, 'run.py', '--no-validate', *args)
    await_stall(folder, job)
    return job


def start_two_stalled(folder: Path, write_run: Callable) -> list[BaseProcess]:
    write_run(folder, STALLED)
    jobs = start_two(folder, 'run.py', '--no-validate')
    await_stall(folder, *jobs)
    return jobs


def launch_stalled(folder: Path, write_run: Callable) -> subprocess.Popen:
    """Two processes of their own, by tools/dist_train.sh."""
    write_run(folder, STALLED)
    path = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    env = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': path, 'PYTHON': sys.executable}
    script = [str(ROOT / 'tools' / 'dist_train.sh'), 'run.py', '2', '--no-validate']
    with (folder / 'log').open('w') as log:
        job = subprocess.Popen(
            [*script, '--cfg-options', GLOO], cwd=folder, env=env, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    await_stall(folder, job, count=2)
    return job


def await_stall(folder: Path, *jobs: BaseProcess | subprocess.Popen, count: int = 0) -> None:
    deadline = time.monotonic() + 300
    pids = [folder / f'pid{rank}' for rank in range(count or len(jobs))]
    while not all(pid.exists() for pid in pids):
        ended = [job for job in jobs if status(job) is not None]
        assert not ended and time.monotonic() < deadline, (folder / 'log').read_text()
        time.sleep(0.05)


def status(job: BaseProcess | subprocess.Popen) -> int | None:
    return job.poll() if isinstance(job, subprocess.Popen) else job.exitcode


def let_go(folder: Path, *jobs: BaseProcess | subprocess.Popen) -> tuple[list[int], list[str]]:
    """Wait for the end; returns the statuses, and what was printed without blank lines."""
    (folder / 'go_on').touch()
    codes = [
        job.wait(timeout=200) if isinstance(job, subprocess.Popen) else status_of(job)
        for job in jobs
    ]
    lines = [line for line in (folder / 'log').read_text().splitlines() if line]
    assert not [line for line in lines if 'Traceback' in line], '\n'.join(lines)
    return codes, lines
