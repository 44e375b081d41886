"""Tools in forks of a process that has imported everything: importing takes most of a tiny run."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import socket
import sys
import traceback
from contextlib import nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from injecting import Fault, Injector
from yapf.yapflib import yapf_api

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'
GLOO = 'env_cfg.dist_cfg.backend=gloo'
_FORKS = multiprocessing.get_context('forkserver')
_FORKS.set_forkserver_preload(['mmengine.runner', 'mmseg.models', 'vil_mm.runs.build'])


def start(
    folder: Path,
    *args: str,
    tool: str = 'train.py',
    watched: str | None = None,
    fault: Fault | None = None,
    **environment: str,
) -> BaseProcess:
    """Start a tool in a folder; it writes its output to ``log`` there, after that of earlier runs.

    Args:
        folder: Its current folder; the first place for imports.
        args: Of the command line.
        tool: A file in tools/.
        watched: A folder in that. Without a fault, the steps of writes there go to ``journal``.
        fault: Kills the process when it writes there.
        environment: More variables of the environment.

    Returns:
        The process, which leads a process group; see :func:`status_of`.
    """
    process = _FORKS.Process(target=_run, args=(folder, tool, args, watched, fault, environment))
    process.start()
    return process


def status_of(process: BaseProcess, timeout: float = 200) -> int:
    """Wait for a process; its exit status, or the negative number of the signal that ended it."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f'still running after {timeout} seconds')
    return process.exitcode


def run(folder: Path, *args: str, **options) -> int:
    """Run a tool to its end, see :func:`start`; returns its exit status."""
    return status_of(start(folder, *args, **options))


def start_two(folder: Path, *args: str, **options) -> list[BaseProcess]:
    """Start two processes of one training."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    args = (*args, '--launcher', 'pytorch', '--cfg-options', GLOO)
    common = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port, **options)
    return [start(folder, *args, RANK=rank, LOCAL_RANK=rank, **common) for rank in '01']


def _run(
    folder: Path,
    tool: str,
    args: tuple[str, ...],
    watched: str | None,
    fault: Fault | None,
    environment: dict[str, str],
) -> None:
    os.setpgid(0, 0)
    os.chdir(folder)
    log = os.open('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.update(environment)
    torch.set_num_threads(1)
    yapf_api.FormatCode = _leave  # two thirds of the time of a tiny run
    sys.path[:0] = [str(folder), str(TOOLS)]
    sys.argv = [str(TOOLS / tool), *args]
    code = 0
    try:
        with _injector(folder, watched, fault) if watched else nullcontext():
            runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()  # as any Python does at its end, but processes of multiprocessing
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _leave(text: str, **options: object) -> tuple[str, bool]:
    """Takes the place of yapf: a config is as good unformatted."""
    return text, False


def _injector(folder: Path, watched: str, fault: Fault | None) -> Injector:
    if fault:
        return Injector(folder / watched, fault)
    journal = os.open(folder / 'journal', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    visit = lambda step: os.write(journal, f'{step}\n'.encode())  # noqa: E731
    return Injector(folder / watched, visit=visit)


def load(path: Path) -> dict:
    return torch.load(path, weights_only=False, map_location='cpu')


def same(one: Path, other: Path) -> bool:
    """Whether two checkpoints have equal weights and moments of the optimizer, bit for bit."""
    a, b = load(one), load(other)
    pairs = [(a['state_dict'], b['state_dict'])]
    states = [x['optimizer']['state'] for x in (a, b)]
    assert states[0].keys() == states[1].keys()
    pairs += [(states[0][key], states[1][key]) for key in states[0]]
    return all(x.keys() == y.keys() for x, y in pairs) and all(
        torch.equal(torch.as_tensor(x[key]), torch.as_tensor(y[key])) for x, y in pairs for key in x
    )
