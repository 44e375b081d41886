"""Kills: between any two steps of all writes of a training, inside writes, and at random.

A kill leaves what the process has written so far, so the quick form looks at the disk after every
step of one run. The slow forms really kill, and compare what the resumed run ends with.
"""

from __future__ import annotations

import functools
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from injecting import Fault, Injector, Step
from trainings import load, run, same, start, status_of

from vil_mm.files import UNFINISHED
from vil_mm.runs.reading import read_config
from vil_mm.runs.resuming import find_last_checkpoint

KILLS = 50
LAST = 'iter_4.pth'


def test_after_every_step_there_is_something_to_resume(tmp_path, write_run, run_here):
    """After the first checkpoint, never less than the checkpoint that the log had announced."""
    config, work = write_run(tmp_path), tmp_path / 'work'
    cfg, found, kinds = read_config(str(config)), [0], set()

    @functools.cache
    def iteration(path: Path, changed: int) -> int:
        return load(path)['meta']['iter']

    def visit(step: Step) -> None:
        kinds.add(step.name)
        whole = {x: iteration(x, x.stat().st_mtime_ns) for x in work.glob('[!.]*.pth')}
        last, _ = find_last_checkpoint(cfg)
        found.append(whole[Path(last)] if last else 0)
        if step == Step('renamed', 'last_checkpoint', 2):
            assert list(work.glob('best_*.pth')) == [] and found[-1] == 2
        if step.what in ('remove', 'removed') and step.name.startswith('best'):
            assert len(list(work.glob('best_*.pth'))) == (2 if step.what == 'remove' else 1)

    with Injector(work, visit=visit):
        run_here('train.py', config)
    assert found == sorted(found), 'it never falls back'
    assert set(found) == {0, 1, 2, 3, 4}
    names = {'.lock', 'run.py', 'TIME/TIME.log', 'TIME/vis_data/config.py', 'iter_1.pth'}
    names |= {'TIME/vis_data/scalars.json', 'iter_4.pth', 'last_checkpoint', '.'}
    assert names <= kinds, 'these are the files that a run writes'


@pytest.fixture(scope='module')
def whole(tmp_path_factory, write_run) -> tuple[Path, list[Step]]:
    """A run that nobody disturbed, and its steps."""
    folder = tmp_path_factory.mktemp('whole')
    write_run(folder)
    assert run(folder, 'run.py', '--work-dir', 'k000', watched='k000') == 0
    steps = [line.rsplit(' ', 1) for line in (folder / 'journal').read_text().splitlines()]
    return folder, [Step(*text.split(' ', 1), int(count)) for text, count in steps]


def write_points(whole: Path, steps: list[Step]) -> list[Fault]:
    """Kills at the first and the last time of every kind of step, and at bytes of every file."""
    kinds: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        kind = ''.join(' ' if x.isdigit() else x for x in step.name)
        kinds.setdefault((step.what, kind), []).append(step)
    chosen = {step for found in kinds.values() for step in (found[0], found[-1])}
    faults = []
    for step in steps:
        if step not in chosen:
            continue
        faults.append(Fault(step))
        if step.what == 'open':
            size = size_of(whole, step.name)
            faults += [Fault(step, byte) for byte in sorted({0, 1, size // 2, size - 1})]
    return faults


def size_of(whole: Path, name: str) -> int:
    """Of a file, or of one like it, of which one byte is left to write at the end."""
    path = whole / name.replace(UNFINISHED, '').replace('TIME', '*', 1)
    name = path.name.replace('TIME', '*')
    for pattern in (name, '*.pth' if name.endswith('.pth') else name):
        found = sorted((x for x in whole.rglob(pattern)), key=lambda x: x.name)
        if found:
            lines = len(found[-1].read_bytes().splitlines()) if path.suffix == '.json' else 1
            return found[-1].stat().st_size // lines
    return 20  # of the lock, which is gone


@pytest.mark.slow
def test_kills_inside_every_kind_of_write(whole, capsys):
    folder, steps = whole
    faults = write_points(folder / 'k000', steps)

    def strike(job: tuple[int, Fault]) -> str | None:
        number, fault = job
        name = f'k{number:03}'  # as long as the name of the whole run: so are the files
        status = run(folder, 'run.py', '--work-dir', name, watched=name, fault=fault)
        if status not in (-signal.SIGKILL, -signal.SIGXFSZ):
            return f'{fault}: not killed, status {status}'
        return resumed(folder, name)

    with ThreadPoolExecutor(2) as pool:
        wrong = [x for x in pool.map(strike, enumerate(faults, start=1)) if x]
    with capsys.disabled():
        print(f'\n{len(faults)} kills at chosen steps and bytes, {len(wrong)} wrong')
    assert not wrong, '\n'.join(wrong)
    assert len(faults) > 50


def resumed(folder: Path, name: str) -> str | None:
    """Resume a killed run; what is wrong with it then, if anything."""
    work = folder / name
    for path in work.glob('[!.]*.pth'):
        load(path)
    status = run(folder, 'run.py', '--work-dir', name, '--resume')
    if status != 0:
        return f'{name}: status {status}'
    if not same(work / LAST, folder / 'k000' / LAST):
        return f'{name}: other weights'
    if (work / '.lock').exists() or list(work.glob(f'{UNFINISHED}*')):
        return f'{name}: left over {sorted(work.glob(".*"))}'
    return None


@pytest.mark.slow
def test_random_kills(whole, capsys):
    """Each run is killed again and again, until it comes to its end."""
    folder, _ = whole
    options = ('--cfg-options', 'train_cfg.max_iters=12', 'train_cfg.val_interval=4')
    assert run(folder, 'run.py', '--work-dir', 'r000', *options) == 0

    def chain(number: int) -> int:
        chance, kills, work = random.Random(number), 0, folder / f'r{number:03}'
        while True:
            job = start(folder, 'run.py', '--work-dir', work.name, '--resume', *options)
            if not kill_randomly(job, work / '.lock', chance):
                assert status_of(job) == 0
                assert same(work / 'iter_12.pth', folder / 'r000' / 'iter_12.pth')
                return kills
            kills += 1
            for path in work.glob('[!.]*.pth'):
                load(path)

    kills, runs = 0, 0
    with ThreadPoolExecutor(2) as pool:
        while kills < KILLS:
            kills += sum(pool.map(chain, (runs + 1, runs + 2)))
            runs += 2
    with capsys.disabled():
        print(f'\n{kills} random kills of {runs} runs')


def kill_randomly(job, lock: Path, chance: random.Random) -> bool:
    """Kill a process somewhere in its run; False if it has ended by itself."""
    while job.is_alive() and not (lock.exists() and lock.read_text().endswith(f' {job.pid}\n')):
        time.sleep(0.01)
    job.join(chance.expovariate(1 / 1.5))
    if not job.is_alive():
        return False
    job.kill()
    job.join()
    return job.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_second_kill_in_the_resumed_run(whole):
    """While it writes the checkpoint again that the first kill had prevented."""
    folder, _ = whole
    step = Step('rename', 'iter_3.pth', 1)
    for fault in (Fault(step), Fault(step), Fault(Step('rename', 'last_checkpoint', 1))):
        args = ('run.py', '--work-dir', 's000', '--resume')
        assert run(folder, *args, watched='s000', fault=fault) == -signal.SIGKILL
    assert resumed(folder, 's000') is None
