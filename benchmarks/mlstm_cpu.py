"""Time and memory of the mLSTM cell's PyTorch forms on a CPU, chunkwise against parallel.

    python benchmarks/mlstm_cpu.py

One thread, float32, batch 1, 4 heads. The forms take turns in one process, so that a busy machine
slows both; what counts are the ratios of their medians. Peak memory is the growth of the process's
resident set during one call in a process of its own (Linux). Prints a table and writes
benchmarks/results/mlstm_cpu.json.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

warnings.filterwarnings('ignore', message='vil_mm: torchvision')

from vil_mm.mlstm import mlstm  # noqa: E402
from vil_mm.mlstm.cost import choose_form  # noqa: E402

NUM_HEADS = 4
MODES = ('forward', 'forward+backward')
RESULTS = Path(__file__).parent / 'results' / 'mlstm_cpu.json'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--lengths', type=int, nargs='+', default=[196, 1024, 4096])
    parser.add_argument('--head-dim', type=int, default=96, help='96 is ViL-T, 192 S, 384 B')
    parser.add_argument('--seconds', type=float, default=20, help='per length and mode')
    parser.add_argument('--out', type=Path, default=RESULTS)
    parser.add_argument('--peak', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        backend, mode, length = args.peak
        print(peak_memory(backend, mode, int(length), args.head_dim))
        return
    rows = [row for length in args.lengths for row in compare(length, args)]
    print_table(rows)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({'machine': machine(), 'rows': rows}, indent=1) + '\n')
    print(f'written to {args.out}')


def compare(length: int, args: argparse.Namespace) -> list[dict]:
    """One row for each mode: medians in ms, peaks in MiB, and parallel over chunkwise."""
    chosen = choose_form(length, NUM_HEADS, args.head_dim)
    other = 'auto' if chosen.backend == 'parallel' else 'chunkwise'
    rows = []
    for mode in MODES:
        calls = {name: make_call(name, mode, length, args.head_dim) for name in ('parallel', other)}
        times = {name: 1e3 * t for name, t in take_turns(calls, args.seconds).items()}
        peaks = {name: peak_elsewhere(name, mode, length, args.head_dim) for name in calls}
        rows.append(
            {
                'length': length,
                'head_dim': args.head_dim,
                'mode': mode,
                'form': other,
                'chunk_size': chosen.chunk_size,
                'parallel_ms': times['parallel'],
                'form_ms': times[other],
                'times_faster': times['parallel'] / times[other],
                'parallel_MiB': peaks['parallel'],
                'form_MiB': peaks[other],
                'times_less_memory': peaks['parallel'] / peaks[other],
            }
        )
    return rows


def make_call(backend: str, mode: str, length: int, head_dim: int) -> Callable[[], object]:
    """A call of the operator on fresh random inputs with the gates of a new network."""
    shape = (1, length, NUM_HEADS, head_dim)
    tensors = [torch.randn(shape) for _ in range(3)]
    gates = [0.1 * torch.randn(shape[:-1]), 4.5 + torch.randn(shape[:-1])]
    inputs = [x.requires_grad_(mode != 'forward') for x in (*tensors, *gates)]
    cotangent = torch.randn(shape)

    def forward() -> Tensor:
        return mlstm(*inputs, backend=backend)

    def forward_and_backward() -> object:
        return torch.autograd.grad(forward(), inputs, cotangent)

    return forward if mode == 'forward' else forward_and_backward


def take_turns(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median seconds of each call, in turns of four for about ``seconds`` and at least two turns.

    The first call of a turn is not counted: it meets the memory that the other form has left.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 6:
        for name, call in calls.items():
            call()
            for _ in range(3):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_elsewhere(backend: str, mode: str, length: int, head_dim: int) -> float:
    """:func:`peak_memory` in a process of its own, which no other form has warmed up."""
    command = [sys.executable, __file__, '--head-dim', str(head_dim), '--peak']
    done = subprocess.run(
        [*command, backend, mode, str(length)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def peak_memory(backend: str, mode: str, length: int, head_dim: int) -> float:
    """Growth of the resident set during one call, in MiB; inputs are there before."""
    make_call(backend, mode, 32, head_dim)()
    call = make_call(backend, mode, length, head_dim)
    ctypes.CDLL(None).malloc_trim(0)
    before = resident('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # resets the peak
    call()
    return resident('VmHWM') - before


def resident(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def machine() -> dict[str, str]:
    commit = subprocess.run(
        ['git', 'describe', '--always', '--dirty'], capture_output=True, text=True, check=False
    )
    cpu = [x for x in Path('/proc/cpuinfo').read_text().splitlines() if x.startswith('model name')]
    return {
        'date': date.today().isoformat(),
        'cpu': cpu[0].split(':')[1].strip() if cpu else platform.processor(),
        'threads': str(torch.get_num_threads()),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'commit': commit.stdout.strip(),
    }


def print_table(rows: list[dict]) -> None:
    print(
        f'{"S":>6} {"mode":<17}{"form":<10}{"L":>4}{"ms":>9}{"parallel":>10}{"faster":>8}', end=''
    )
    print(f'{"MiB":>8}{"parallel":>10}{"less":>7}')
    for r in rows:
        print(f'{r["length"]:>6} {r["mode"]:<17}{r["form"]:<10}{r["chunk_size"] or "-":>4}', end='')
        print(f'{r["form_ms"]:>9.1f}{r["parallel_ms"]:>10.1f}{r["times_faster"]:>7.1f}x', end='')
        print(f'{r["form_MiB"]:>8.1f}{r["parallel_MiB"]:>10.1f}{r["times_less_memory"]:>6.1f}x')


if __name__ == '__main__':
    main()
