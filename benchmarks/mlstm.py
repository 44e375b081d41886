"""The mLSTM cell: time, share of the roofline bound, memory and error of backends and peers.

    python benchmarks/mlstm.py                    # a GPU if there is one, else one CPU core
    python benchmarks/mlstm.py --quick --sizes tiny --lengths 1024

A ViL-T/S/B cell has 4 heads of 96/192/384. The number of tokens is constant: the longer the
sequence, the fewer of them. SDPA is that of the ViT of the same width d (half the cell's). Errors
are those of one image and one head over the whole length, outputs and gradients, against the same
in float64. Prints rows and writes results/mlstm_DEVICE.{json,csv,png}.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import measure
import peers
import torch
import torch.nn.functional as F
from roofline import attention, cell_bound
from torch import Tensor

from vil_mm.mlstm import mlstm
from vil_mm.mlstm.cost import choose_backend
from vil_mm.mlstm.roofline import Device, roofline_bound
from vil_mm.mlstm.triton.op import mlstm_fused, unsupported
from vil_mm.mlstm.triton.runtime import unsupported_reason

NUM_HEADS = 4
SIZES = {'tiny': 192, 'small': 384, 'base': 768}  # name -> width d of the ViL and of the ViT
LENGTHS = (196, 729, 1024, 2048, 4096, 8192, 16384)
MODES = ('forward', 'forward+backward')
FLOAT32_STATES = 'triton, float32 states'
FUSED = ('triton', FLOAT32_STATES)  # the first keeps states in the dtype of q
PARALLEL_COPIES = 8  # tensors of (B, NH, S, S) float32 that parallel and its gradient hold


def main() -> None:
    args = read_options()
    measure.prepare(args)
    names, skipped = peers.available(args.device)
    backends = ['parallel', 'chunkwise']
    if reason := fused_cannot_run(args.device):
        skipped.append(f'skipped triton: {reason}')
    else:
        backends += FUSED
    print(*skipped, sep='\n')
    rows = []
    for dtype in args.dtypes:
        best = measure.rates(args.device, measure.DTYPES[dtype])
        for size in args.sizes:
            for length in args.lengths:
                # float32 keeps its states in float32 anyway
                own = [
                    backend
                    for backend in backends
                    if backend != FLOAT32_STATES or dtype != 'float32'
                ]
                rows += compare(size, length, dtype, own + names, best, args)
    target = measure.save('mlstm', rows, args)
    for mode in MODES:
        own = [row for row in rows if row['mode'] == mode]
        path = target.with_name(f'{target.stem}_{mode.replace("+", "_")}.png')
        measure.plot(path, own, 'length', 'ms', ['size', 'dtype', 'mode'], 'backend', 'bound_ms')


def fused_cannot_run(device: str) -> str | None:
    """Why; a CPU only interprets the kernels, which says nothing of their speed."""
    return 'needs a GPU' if device == 'cpu' else unsupported_reason(torch.empty(0, device=device))


def read_options() -> argparse.Namespace:
    options = measure.parser(__doc__)
    options.add_argument('--sizes', nargs='+', choices=SIZES)
    options.add_argument('--lengths', nargs='+', type=int, help='tokens S')
    options.add_argument('--dtypes', nargs='+', choices=measure.DTYPES)
    options.add_argument('--tokens', type=int, help='in all images; 65536 on a GPU, one image else')
    args = options.parse_args()
    gpu = args.device == 'cuda'
    args.sizes = args.sizes or (list(SIZES) if gpu else ['tiny'])
    if args.lengths is None:
        args.lengths = [1024, 4096] if args.quick else LENGTHS if gpu else [196, 1024, 4096]
    args.dtypes = args.dtypes or (['bfloat16', 'float32'] if gpu else ['float32'])
    if gpu and args.quick:
        args.dtypes = args.dtypes[:1]
    args.tokens = args.tokens or (65536 if gpu else 1)
    return args


def compare(
    size: str, length: int, dtype: str, backends: list[str], best: Device, args: argparse.Namespace
) -> list[dict]:
    """A row for each backend and mode; the backends of one mode take turns."""
    dim, batch = SIZES[size], max(1, args.tokens // length)
    shape = {'size': size, 'dtype': dtype, 'length': length, 'batch': batch}
    rows = []
    for mode in MODES:
        own = [{'backend': backend, 'mode': mode, **shape} for backend in backends]
        calls = {}
        for row in own:
            row['kind'] = 'ViT' if row['backend'] in peers.BACKENDS else 'ViL'
            with measure.reason_kept(row):
                fill(row, calls, dim, args.device)
        with measure.reason_kept(failed := {}):
            times = measure.take_turns(calls, args.seconds, args.device, hide_launch=True)
        for row in own:
            if row['backend'] in calls:
                row.update(failed or timed(row, times, dim, best, args.device))
            measure.print_row(row)
        rows += own
    return rows


def fill(row: dict, calls: dict, dim: int, device: str) -> None:
    """Run a backend once, note its memory and error, and enter it among the calls to be timed."""
    backend, mode, length, batch = (row[key] for key in ('backend', 'mode', 'length', 'batch'))
    if backend == 'parallel':
        needed = PARALLEL_COPIES * batch * NUM_HEADS * length**2 * 4
        if needed > measure.total_memory(device):
            raise MemoryError(f'{needed / 2**30:.0f} GiB for the weights of all pairs of tokens')
    like = {'device': device, 'dtype': measure.DTYPES[row['dtype']]}
    call = with_mode(*operator(backend, batch, length, dim, like), mode)
    call()
    row['peak_MiB'] = measure.peak_memory(call, device)
    if row['kind'] == 'ViT':  # no other is allowed, so that it ran
        row['sdpa'] = backend.removeprefix('sdpa_')
    row['error'] = error(backend, mode, length, dim, like)
    calls[backend] = call


def timed(row: dict, times: dict[str, float], dim: int, best: Device, device: str) -> dict:
    """The columns that follow from a time; bounds are those of fused kernels on a GPU."""
    length, tokens = row['length'], row['length'] * row['batch']
    element = measure.DTYPES[row['dtype']].itemsize
    backward = row['mode'] != 'forward'
    if row['kind'] == 'ViT':
        passes = attention(length, dim, element=element)
        if backward:
            passes = passes + attention(length, dim, backward=True, element=element)
        least = roofline_bound(passes, tokens, best)
    else:
        options = {'backward': backward, 'element': element}
        least = cell_bound(length, NUM_HEADS, dim // 2, tokens, best, **options)
    seconds = times[row['backend']]
    found = {'ms': 1e3 * seconds, 'bound_ms': 1e3 * least}
    if device == 'cuda':
        found['of_bound'] = least / seconds
    if 'parallel' in times:
        found['times_faster_than_parallel'] = times['parallel'] / seconds
    if row['backend'] == 'chunkwise' and device == 'cpu':
        found['auto'] = choose_backend(length, NUM_HEADS, dim // 2).backend
    return found


def operator(backend: str, batch: int, length: int, dim: int, like: dict) -> peers.Operator:
    """A call of the operator, and what it takes gradients of."""
    if backend in peers.BACKENDS:
        return peers.sdpa(backend, batch, length, dim, **like)
    if backend in ('rwkv6', 'rwkv7', 'mamba2'):
        return getattr(peers, backend)(batch, length, 2 * dim, **like)
    cell = cell_inputs((batch, length, NUM_HEADS, dim // 2), like)
    if backend in ('mlstm_kernels', 'simple_gla'):
        return getattr(peers, backend)(cell)
    return own_backend(backend, cell), cell


def own_backend(backend: str, cell: list[Tensor]) -> Callable[[], Tensor]:
    """A call of a backend of this project, never of another in its place."""
    if backend not in FUSED:
        return partial(mlstm, *cell, backend=backend)
    if reason := unsupported_reason(*cell) or unsupported(*cell[:3]):
        raise RuntimeError(reason)
    states = torch.float32 if backend == FLOAT32_STATES else None
    return partial(mlstm_fused, *cell, state_dtype=states)


def cell_inputs(shape: tuple[int, ...], like: dict) -> list[Tensor]:
    """Random q, k, v, and gates such as a new network has, in float32."""
    q, k, v = (torch.randn(shape, **like) for _ in range(3))
    igate, fgate = (torch.randn(shape[:-1], device=like['device']) for _ in range(2))
    return [q, k, v, 0.1 * igate, 4.5 + fgate]


def with_mode(
    call: Callable[[], Tensor], inputs: list[Tensor], mode: str, cotangent: Tensor | None = None
) -> Callable[[], list[Tensor]]:
    """The call alone, or the call and all its gradients; returns what it computed."""
    if mode == 'forward':

        def forward() -> list[Tensor]:
            with torch.no_grad():
                return [call()]

        return forward
    for x in inputs:
        x.requires_grad_()
    if cotangent is None:
        with torch.no_grad():
            cotangent = torch.randn_like(call())

    def both() -> list[Tensor]:
        out = call()
        return [out, *torch.autograd.grad(out, inputs, cotangent)]

    return both


def error(backend: str, mode: str, length: int, dim: int, like: dict) -> float | None:
    """Of one image and head, against float64: of attention or the mLSTM; None for other maths."""
    if backend in peers.BACKENDS:
        call, inputs = peers.sdpa(backend, 1, length, peers.HEAD, **like)
        exact = [x.double() for x in inputs]
        reference = partial(F.scaled_dot_product_attention, *exact)
    elif backend in ('parallel', 'chunkwise', *FUSED, 'mlstm_kernels'):
        inputs = cell_inputs((1, length, 1, dim // 2), like)
        exact = [x.double() for x in inputs]
        reference = partial(mlstm, *exact, backend='parallel' if length <= 1024 else 'chunkwise')
        if backend == 'mlstm_kernels':  # its gradients have other shapes: the output alone
            mode, call = 'forward', peers.mlstm_kernels(inputs)[0]
        else:
            call = own_backend(backend, inputs)
    else:
        return None
    exact_output = reference()
    cotangent = torch.randn(exact_output.shape, **like)
    got = with_mode(call, inputs, mode, cotangent)()
    expected = with_mode(reference, exact, mode, cotangent.double())()
    return measure.relative_error(got, expected)


if __name__ == '__main__':
    main()
