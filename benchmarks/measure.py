"""What the benchmarks share: options, bounds, results and plots; vil_mm.measure.speed measures."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from vil_mm.measure.speed import (  # noqa: F401  benchmarks name all of it measure.X
    Call,
    Row,
    environment,
    held_memory,
    peak_memory,
    print_row,
    reason_kept,
    take_turns,
    total_memory,
    versions,
    write,
)
from vil_mm.mlstm.roofline import H200, Device
from vil_mm.runs.devices import find_device

RESULTS = Path(__file__).parent / 'results'
DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}


def parser(text: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=text.split('\n', 1)[0])
    options.add_argument('--device', choices=('cpu', 'cuda'), default=find_device())
    options.add_argument('--threads', type=int, default=1, help='of a CPU')
    options.add_argument('--seconds', type=float, help='of measuring, for each set of comparisons')
    options.add_argument('--quick', action='store_true', help='few cases, for a first look')
    options.add_argument('--out', type=Path, default=RESULTS, help='folder to write to')
    return options


def prepare(args: argparse.Namespace) -> None:
    """What holds for the whole process: threads, seed, the choice of convolution algorithms."""
    torch.set_num_threads(args.threads or 1)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    if args.seconds is None:
        args.seconds = 0.5 if args.quick else 2.0 if args.device == 'cuda' else 10.0


def rates(device: str, dtype: torch.dtype) -> Device:
    """What the device does at best: known figures, or a product and a copy measured here."""
    if device == 'cuda' and 'H200' in torch.cuda.get_device_name() and dtype == torch.bfloat16:
        return H200
    size, entries = (8192, 2**30) if device == 'cuda' else (1024, 2**25)
    x = torch.randn(size, size, device=device, dtype=dtype)
    source = torch.zeros(entries, device=device, dtype=torch.int8)
    target = torch.ones_like(source)
    calls = {'product': lambda: x @ x, 'copy': lambda: target.copy_(source)}
    best = take_turns(calls, 0.3, device)
    return Device(2 * size**3 / best['product'], 2 * entries / best['copy'])


def relative_error(got: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest of the tensors' relative errors in the Euclidean norm."""
    pairs = zip(got, expected, strict=True)
    with torch.no_grad():
        return max(float((g.double() - e).norm() / e.norm().clamp_min(1e-30)) for g, e in pairs)


def save(name: str, rows: list[Row], args: argparse.Namespace) -> Path:
    """Write rows and machine as NAME_DEVICE.json, and rows as .csv; returns the path of the JSON.

    The CSV repeats commit, date and device in every row, so that rows of several runs can be mixed.
    """
    return write(args.out / f'{name}_{args.device}.json', rows, environment(args.device))


def plot(
    path: Path, rows: list[Row], x: str, y: str, panels: list[str], line: str, bound: str
) -> None:
    """Log-log plots of y over x, one panel for each value of ``panels``, one line for ``line``.

    ``bound`` names the column of y's roofline bound, drawn dashed. Rows that failed are left out.
    Without matplotlib a line says that nothing is drawn.
    """
    rows = [row for row in rows if row.get(y) is not None]
    try:
        import matplotlib
    except ImportError:
        print('no plot: matplotlib is not installed')
        return
    if not rows:
        print('no plot: nothing was measured')
        return
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    titles = list(dict.fromkeys(tuple(row[key] for key in panels) for row in rows))
    columns = math.ceil(math.sqrt(len(titles)))
    size = math.ceil(len(titles) / columns), columns
    figure, axes = plt.subplots(*size, figsize=(5 * size[1], 4 * size[0]), squeeze=False)
    for axis in axes.flat[len(titles) :]:
        axis.set_axis_off()
    for axis, title in zip(axes.flat, titles, strict=False):
        panel = [row for row in rows if tuple(row[key] for key in panels) == title]
        for name in dict.fromkeys(row[line] for row in panel):
            own = sorted((row[x], row[y]) for row in panel if row[line] == name)
            axis.plot(*zip(*own, strict=True), marker='o', markersize=3, label=str(name))
        _draw_bound(axis, panel, x, bound)
        axis.set(xscale='log', yscale='log', xlabel=x, ylabel=y, title=' '.join(map(str, title)))
        sizes = sorted({row[x] for row in panel})
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_xticks([], minor=True)
        axis.legend(fontsize='x-small')
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f'written: {path}')


def _draw_bound(axis, panel: list[Row], x: str, bound: str) -> None:
    """Dashed lines of the roofline bounds of ViL (or its cell) and of the ViT."""
    for kind, colour in (('ViL', 'black'), ('ViT', 'grey')):
        points = {row[x]: row[bound] for row in panel if row['kind'] == kind and row.get(bound)}
        if points:
            axis.plot(*zip(*sorted(points.items()), strict=True), '--', color=colour, lw=1)
            axis.lines[-1].set_label(f'roofline bound, {kind}')
