"""Timers, peak memory and machine description, for tools/ and benchmarks/."""

from __future__ import annotations

import contextlib
import csv
import ctypes
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import torch

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
Call = Callable[[], object]
Row = dict[str, object]


def take_turns(
    calls: dict[str, Call], seconds: float, device: str, *, hide_launch: bool = False
) -> dict[str, float]:
    """Median seconds of each call; calls alternate, so that slow moments affect all of them.

    The first call of each turn is not timed, since it finds the memory of another call.

    Args:
        calls: Calls to compare, already warmed up.
        seconds: Total time to spend; at least two turns are run.
        device: 'cuda' empties the L2 cache before each call and measures GPU time.
        hide_launch: Make the GPU wait until the CPU has queued the call, which excludes Python's
            overhead. For operators, not for whole models.
    """
    timer = find_timer(device, hide_launch=hide_launch)
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while calls and (time.perf_counter() < end or min(map(len, times.values())) < 6):
        for name, call in calls.items():
            call()
            times[name] += [timer(call) for _ in range(3)]
    return {name: statistics.median(values) for name, values in times.items()}


def find_timer(device: str, *, hide_launch: bool = False) -> Callable[[Call], float]:
    """A function that measures the seconds of one call; arguments as in :func:`take_turns`."""
    return _cuda_timer(hide_launch) if device == 'cuda' else _cpu_timer


def _cpu_timer(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _cuda_timer(hide_launch: bool) -> Callable[[Call], float]:
    more_than_l2 = torch.empty(256 * 2**20, dtype=torch.int8, device='cuda')

    def seconds(call: Call) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        more_than_l2.zero_()
        if hide_launch:
            torch.cuda._sleep(4_000_000)  # cycles, about 2 ms
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    return seconds


def peak_memory(call: Call, device: str) -> float | None:
    """MiB that a call allocates at its peak; on a CPU, the growth of the resident set.

    On a CPU this needs Linux, glibc and a writable /proc; None otherwise.
    """
    if device == 'cuda':
        gc.collect()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if not _peak_is_known():
        return None
    libc = ctypes.CDLL(None)
    # Put each tensor into its own pages, returned when it is freed: a call could reuse heap memory
    # of earlier calls without growing the resident set.
    libc.mallopt(M_MMAP_THRESHOLD, 64 * 2**10)
    call()
    gc.collect()
    libc.malloc_trim(0)
    before = _resident('VmRSS')
    _reset_peak()
    call()
    peak = _resident('VmHWM') - before
    libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # glibc's own upper limit; faster
    return peak


def _peak_is_known() -> bool:
    try:
        libc = ctypes.CDLL(None)
        _reset_peak()
        return hasattr(libc, 'mallopt') and hasattr(libc, 'malloc_trim') and _resident('VmHWM') > 0
    except (KeyError, OSError, TypeError):  # another libc or system
        return False


def _reset_peak() -> None:
    Path('/proc/self/clear_refs').write_text('5')


def held_memory(device: str) -> float:
    """MiB currently held, by tensors on a GPU, by the whole process on a CPU."""
    return torch.cuda.memory_allocated() / 2**20 if device == 'cuda' else _resident('VmRSS')


def total_memory(device: str) -> float:
    """Bytes of the device's memory, free or not."""
    if device == 'cuda':
        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def _resident(field: str) -> float:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


@contextlib.contextmanager
def reason_kept(row: Row) -> Iterator[None]:
    """Store an error raised inside as the row's ``reason``, in one line, and free memory."""
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines()
        row['reason'] = f'{type(error).__name__}: {lines[0] if lines else ""}'[:300]
    if 'reason' in row:
        gc.collect()
        if torch.cuda.is_available():
            with contextlib.suppress(Exception):  # a broken GPU context
                torch.cuda.empty_cache()


def environment(device: str) -> Row:
    """The machine, together with :func:`versions`."""
    query = ('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader')
    return {
        'device': device_name(device),
        'driver': _output(*query) if device == 'cuda' else None,
        'threads': torch.get_num_threads(),
        **versions(),
    }


def versions() -> Row:
    """Date, commit (``-dirty`` if files differ from it), packages and command line."""
    return {
        'date': date.today().isoformat(),
        'commit': _commit(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'triton': _version('triton'),
        'cuda': torch.version.cuda,
        'command': _command(),
    }


def _commit() -> str | None:
    """The commit of this repository; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / '.git').exists():
        return None
    return _output('git', '-C', str(root), 'describe', '--always', '--dirty')


def _command() -> str:
    """The command line, without the output folder."""
    words = sys.argv[1:]
    if '--out' in words:
        at = words.index('--out')
        del words[at : at + 2]
    return ' '.join([Path(sys.argv[0]).name, *words])


def device_name(device: str) -> str:
    """The model name of the CPU or GPU."""
    if device == 'cuda':
        return torch.cuda.get_device_name()
    lines = []
    with contextlib.suppress(OSError):  # exists only on Linux
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def print_row(row: Row) -> None:
    """Print a row on one line; rows of one benchmark align."""
    reason = row.get('reason')
    shown = {key: value for key, value in row.items() if key != 'reason' and value is not None}
    cells = [f'{key}={_short(value)}' for key, value in shown.items()]
    print('  '.join(f'{cell:<12}' for cell in cells) + (f'  -- {reason}' if reason else ''))
    sys.stdout.flush()


def _short(value: object) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def write(target: Path, rows: list[Row], where: Row) -> Path:
    """Write rows and their origin as JSON to ``target`` and as CSV next to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({'machine': where, 'rows': rows}, indent=1) + '\n')
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with target.with_suffix('.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, [*fields, *where])
        writer.writeheader()
        writer.writerows({**row, **where} for row in rows)
    print(f'written: {target} and .csv')
    return target
