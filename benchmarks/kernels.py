"""What every fused kernel takes of a GPU: registers, spills, shared memory. Needs no GPU.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --capabilities 90 --dtypes bfloat16 --widths 96

Compiles ahead of time what a layer of ViL-T/S/B/L (heads of 96, 192, 384, 512 channels) launches,
forward and backward: the cell for sequences of one chunk and of many, the local mixing of both
versions, and norm, skip and gate. The cell can keep the states of bfloat16 inputs in float32, which
no model does unasked: those rows say `states=float32`. Tiles depend on the GPU: 90 is an H100 or
H200, 80 an A100. Prints rows and writes results/kernels.{json,csv}.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import measure
from torch import Tensor

from vil_mm.mlstm.triton.runtime import HAS_TRITON, INTERPRETED, SHARED_MEMORY, Launch

WIDTHS = (96, 192, 384, 512)  # channels of a head in T, S, B, L
LENGTHS = (1024, 4096)
STATES = ('C', 'dC')  # arguments
REGISTERS, OF_A_THREAD = 65536, 255  # of a multiprocessor; both capabilities


def main() -> None:
    args = read_options()
    rows, seen = [], set()
    for capability in args.capabilities:
        for shape, launch in launches(capability, args):
            for options in launch.options:
                row = {'kernel': launch.kernel.__name__, **shape, 'capability': capability}
                row |= {'tiles': tiles(launch)}
                key = (tuple(row.values()), options)
                if key in seen:
                    continue
                seen.add(key)
                with measure.reason_kept(row):
                    row |= resources(launch, options, capability)
                measure.print_row(row)
                rows.append(row)
    measure.write(args.out / 'kernels.json', rows, measure.versions())


def read_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    options.add_argument('--capabilities', nargs='+', type=int, default=[90, 80])
    options.add_argument('--dtypes', nargs='+', choices=measure.DTYPES, default=measure.DTYPES)
    options.add_argument('--widths', nargs='+', type=int, default=WIDTHS)
    options.add_argument('--lengths', nargs='+', type=int, default=LENGTHS, help='tokens S')
    kept = "dtype that the states are kept in: the inputs', as models do, or float32"
    options.add_argument('--states', nargs='+', choices=('own', 'float32'), help=kept)
    options.add_argument('--out', type=Path, default=measure.RESULTS, help='folder to write to')
    args = options.parse_args()
    args.states = args.states or ['own', 'float32']
    if not HAS_TRITON or INTERPRETED:
        options.error('needs the package triton, and TRITON_INTERPRET not set')
    return args


def launches(capability: int, args: argparse.Namespace) -> Iterator[tuple[dict, Launch]]:
    """Every launch for a GPU, with what the rows say of its shape; some come several times."""
    from aot import cell_launches, layer_launches

    for dtype in args.dtypes:
        for states in dict.fromkeys({'own': dtype, 'float32': 'float32'}[x] for x in args.states):
            for width in args.widths:
                for length in args.lengths:
                    case = (width, measure.DTYPES[dtype], length, capability)
                    for launch in cell_launches(*case, state_dtype=measure.DTYPES[states]):
                        width_or_any = launch.arguments.get('WIDTH')
                        yield {'part': 'cell', 'width': width_or_any, **dtypes(launch)}, launch
    for launch in layer_launches():
        found = dtypes(launch)
        # the local mixing has the same code for every width
        width = launch.arguments['h'].shape[-1] if 'h' in launch.arguments else None
        if found['dtype'] in args.dtypes and width in (None, *args.widths):
            yield {'part': 'layers', 'width': width, **found}, launch


def dtypes(launch: Launch) -> dict:
    """Of the tensors, where gates and sums are always float32, and of the states if there are."""
    tensors = [
        x for key, x in launch.arguments.items() if isinstance(x, Tensor) and key not in STATES
    ]
    smallest = min(tensors, key=Tensor.element_size)
    states = [x for key, x in launch.arguments.items() if key in STATES and x is not None]
    return {'dtype': name(smallest), 'states': name(states[0]) if states else None}


def name(x: Tensor) -> str:
    return str(x.dtype).removeprefix('torch.')


def tiles(launch: Launch) -> str:
    """The compile-time arguments."""
    names = [launch.kernel.arg_names[index] for index in launch.kernel.constexprs]
    return ' '.join(f'{key}={launch.arguments[key]}' for key in names)


def resources(launch: Launch, options, capability: int) -> dict:
    """Bytes a thread spilled, the rest a program; each limit stands beside what it limits."""
    from aot import compile_launch

    usage = compile_launch(launch, options, capability)
    return {
        **options._asdict(),
        'registers': usage.registers,
        'registers_limit': min(OF_A_THREAD, REGISTERS // (32 * options.num_warps)),
        'spilled': usage.spilled,
        'shared_KiB': usage.shared / 1024,
        'shared_limit_KiB': SHARED_MEMORY[capability] / 1024,
        'wgmma': usage.wgmma,
    }


if __name__ == '__main__':
    main()
