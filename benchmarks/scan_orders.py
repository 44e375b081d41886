"""The cell along the columns of a grid against along its rows, in both directions.

    python benchmarks/scan_orders.py        # fused kernels on a GPU, else chunkwise
    python benchmarks/scan_orders.py --sizes base --sides 64

All four read one map that lies in memory by rows, as a layer's projections leave it; a column scan
reads its transposed view, and its results lie by rows again. `over_rows` is its time over that of
the row scan of the same direction; they take turns. Gradients are those of all five inputs. Prints
rows and writes results/scan_orders_DEVICE.{json,csv}.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import measure
import torch
from mlstm import MODES, NUM_HEADS, SIZES, cell_inputs, own_backend, with_mode
from torch import Tensor

ORDERS = ('rows', 'rows reversed', 'columns', 'columns reversed')


def main() -> None:
    args = read_options()
    measure.prepare(args)
    rows = []
    for dtype in args.dtypes:
        for size in args.sizes:
            for side in args.sides:
                for mode in MODES:
                    rows += compare(size, side, dtype, mode, args)
    measure.save('scan_orders', rows, args)


def read_options() -> argparse.Namespace:
    options = measure.parser(__doc__)
    options.add_argument('--sizes', nargs='+', choices=SIZES)
    options.add_argument('--sides', nargs='+', type=int, help='tokens; 32 are 512 pixels')
    options.add_argument('--dtypes', nargs='+', choices=measure.DTYPES)
    options.add_argument('--tokens', type=int, help='in all images; 65536 on a GPU, one image else')
    args = options.parse_args()
    gpu = args.device == 'cuda'
    args.sizes = args.sizes or (list(SIZES) if gpu else ['tiny'])
    args.sides = args.sides or ([64] if args.quick else [32, 64, 128] if gpu else [32, 64])
    args.dtypes = args.dtypes or (['bfloat16'] if gpu else ['float32'])
    args.tokens = args.tokens or (65536 if gpu else 1)
    return args


def compare(size: str, side: int, dtype: str, mode: str, args: argparse.Namespace) -> list[dict]:
    """A row for each order."""
    backend = 'triton' if args.device == 'cuda' else 'chunkwise'
    shape = {'size': size, 'dtype': dtype, 'side': side, 'batch': max(1, args.tokens // side**2)}
    rows = [{'order': order, 'mode': mode, 'backend': backend, **shape} for order in ORDERS]
    like = {'device': args.device, 'dtype': measure.DTYPES[dtype]}
    calls = {}
    with measure.reason_kept(failed := {}):
        cell = cell_inputs((shape['batch'], side, side, NUM_HEADS, SIZES[size] // 2), like)
        calls = {order: scan(order, backend, cell, mode) for order in ORDERS}
        for call in calls.values():
            call()
        times = measure.take_turns(calls, args.seconds, args.device, hide_launch=True)
    for row in rows:
        row.update(failed or timed(row['order'], times))
        measure.print_row(row)
    return rows


def scan(order: str, backend: str, cell: list[Tensor], mode: str) -> Callable[[], list[Tensor]]:
    """A call that reads the map ``(B, side, side, NH, DH)`` in an order."""
    call = by_columns if order.startswith('columns') else by_rows
    inputs = [x.detach() for x in cell]
    reverse = order.endswith('reversed')
    return with_mode(
        partial(call, backend, inputs, reverse), inputs, mode, torch.ones_like(cell[0])
    )


def by_rows(backend: str, cell: list[Tensor], reverse: bool) -> Tensor:
    return own_backend(backend, cell)(reverse=reverse)


def by_columns(backend: str, cell: list[Tensor], reverse: bool) -> Tensor:
    return by_rows(backend, [x.transpose(1, 2) for x in cell], reverse).transpose(1, 2)


def timed(order: str, times: dict[str, float]) -> dict:
    """The columns that follow from the times."""
    found = {'ms': 1e3 * times[order]}
    if order.startswith('columns'):
        found['over_rows'] = times[order] / times[order.replace('columns', 'rows')]
    return found


if __name__ == '__main__':
    main()
