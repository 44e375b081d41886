"""Multiply-adds of a whole model for one image, as it runs and by the paper's convention.

The count includes matrix products and convolutions as PyTorch dispatches them, with padding, stored
zeros and both triangles. As usual, it leaves out norms, activations, exponentials and resizing.
FLOPs are twice the multiply-adds.

The paper's convention (Alkin et al., ImageNet table: 1.5, 5.1 and 18.6 G at 224 pixels) counts the
definition, whatever backend runs: no weights that are zero by construction, and only the lower
triangle of the cell's two S x S products. It gives 18.5 G for ViL-B.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from vil_mm.layers.scan import NUM_HEADS
from vil_mm.measure.flop_watch import CELL, CONV, GATES, MIXED, QKV, FlopWatch, ScanRun
from vil_mm.measure.inputs import name_size
from vil_mm.mlstm.cost import Choice, choose_backend, choose_chunk_size, flops
from vil_mm.mlstm.roofline import cell_passes, choose_triton_chunk
from vil_mm.models.inspection import count_channels, count_parameters, find_kind

CELL_BACKENDS = ('auto', 'parallel', 'chunkwise', 'triton')
AUXILIARY = 'auxiliary head'
Counts = dict[str, float]


@dataclass(frozen=True)
class FlopCount:
    """Multiply-adds of one image, forward.

    Attributes:
        parts: Multiply-adds by part of the model.
        paper: The same parts by the paper's convention; as they run for other backbones.
        auxiliary: Multiply-adds of the auxiliary head, which runs only in training.
        backends: Multiply-adds of all mLSTM cells by each backend; empty for other backbones.
        backend: The one counted in ``parts``.
        parameters: Parameters of the whole model.
        not_counted: Operators without a formula that may be expensive.
    """

    parts: Counts
    paper: Counts
    auxiliary: float
    backends: dict[Choice, float]
    backend: Choice | None
    parameters: int
    not_counted: list[str]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def paper_total(self) -> float:
        return sum(self.paper.values())


def count_flops(model: nn.Module, shape: tuple[int, int], backend: str = 'auto') -> FlopCount:
    """Count a forward pass of one image; models on a CPU are not run, only traced by shape.

    Args:
        model: A segmentor, a classifier, or the backbone and neck of a detector.
        shape: Height and width in pixels.
        backend: Backend of the mLSTM cell: 'auto' for the one that runs on the model's device,
            or 'parallel', 'chunkwise' or 'triton', even if it cannot run here.

    Raises:
        ValueError: The backend is unknown, or the model does not run at this size.
    """
    if backend not in CELL_BACKENDS:
        raise ValueError(
            f'backend {backend!r} is unknown; choose one of {", ".join(CELL_BACKENDS)}'
        )
    on_gpu = next(model.parameters()).is_cuda
    model = model if on_gpu else copy.deepcopy(model).to('meta')
    watch = FlopWatch(model)
    _run(model, shape, watch)
    if backend == 'auto' and not on_gpu and 'triton' in {scan.backend for scan in watch.scans}:
        backend = 'chunkwise'  # what a CPU runs instead
    parts = {part: count / 2 for part, count in watch.flops.items()}
    auxiliary = parts.pop(AUXILIARY, 0.0)
    paper, backends, running = dict(parts), {}, None
    if watch.scans:
        running = _choose(watch.scans[0], watch.scans[0].backend if backend == 'auto' else backend)
        _split_kernel(parts, watch.scans)
        if backend != 'auto':
            _replace_cell(parts, watch.scans, backend)
        paper = {**parts, **_total([_count_by_definition(scan) for scan in watch.scans])}
        backends = _count_each_backend(watch.scans, running)
    return FlopCount(
        parts,
        paper,
        auxiliary,
        backends,
        running,
        count_parameters(model),
        sorted(watch.not_counted),
    )


def format_count(count: FlopCount, shape: tuple[int, int], device: str) -> str:
    """A table by part, followed by a comparison of the cell's backends."""
    own = name_choice(count.backend) if count.backend else 'no mLSTM cell'
    lines = [
        f'One image of {shape[0]} x {shape[1]} pixels, forward; G multiply-adds, two FLOPs each:',
        f'{"part":<26}{"counted":>10}{"share":>9}{"paper":>10}',
    ]
    for part, amount in count.parts.items():
        share = amount / count.total
        lines.append(f'{part:<26}{_giga(amount)}{share:>9.1%}{_giga(count.paper[part])}')
    lines.append(f'{"total":<26}{_giga(count.total)}{"":>9}{_giga(count.paper_total)}')
    if count.auxiliary:
        lines.append(f'{"auxiliary head, training":<26}{_giga(count.auxiliary)}')
    lines += ['', f'parameters: {count.parameters / 1e6:.2f} M', f'counted: {own} ({device})']
    if count.backend:
        lines += [
            "paper: the paper's convention, half of the cell's S x S products",
            '',
            f'{"mLSTM cell by backend":<40}{"cell":>10}{"to parallel":>13}',
            *_backend_lines(count),
        ]
    if count.not_counted:
        lines.append(f'NOT COUNTED, no formula: {", ".join(count.not_counted)}')
    return '\n'.join(lines)


def name_choice(choice: Choice) -> str:
    """A description such as ``chunkwise, 64 tokens per chunk``."""
    return (
        f'{choice.backend}, {choice.chunk_size} tokens per chunk'
        if choice.chunk_size
        else choice.backend
    )


def _backend_lines(count: FlopCount) -> list[str]:
    whole = count.backends[Choice('parallel')]
    return [
        f'{name_choice(choice):<40}{_giga(amount)}{f"x {amount / whole:.2f}":>13}'
        + ('  counted above' if choice == count.backend else '')
        for choice, amount in count.backends.items()
    ]


def _giga(amount: float) -> str:
    return f'{amount / 1e9:>10.4f}'


def _run(model: nn.Module, shape: tuple[int, int], watch: FlopWatch) -> None:
    """Run a forward pass, including a segmentor's auxiliary head.

    Raises:
        ValueError: The model does not run at this size.
    """
    channels, device = count_channels(model), next(model.parameters()).device
    images = torch.empty(1, channels, *shape, device=device)
    with name_size(shape), torch.no_grad(), watch:
        if find_kind(model) == 'classifier':
            model(images, mode='tensor')
            return
        features = model.extract_feat(images)
        for name in ('decode_head', 'auxiliary_head'):
            head = getattr(model, name, None)
            for one in head if isinstance(head, nn.ModuleList) else [head] if head else []:
                one(features)


def _choose(scan: ScanRun, name: str) -> Choice:
    """The backend of this name, with the chunk length for a scan."""
    sizes = scan.tokens, NUM_HEADS, scan.channels // NUM_HEADS
    if name == 'auto':
        return choose_backend(*sizes)
    if name == 'chunkwise':
        return Choice(name, choose_chunk_size(*sizes))
    if name == 'triton':
        return Choice('triton', min(choose_triton_chunk(*sizes), scan.tokens))
    return Choice(name)


def _count_cell(scan: ScanRun, choice: Choice) -> float:
    """Multiply-adds of a scan's cell."""
    sizes = scan.tokens, NUM_HEADS, scan.channels // NUM_HEADS
    if choice.backend != 'triton':
        return flops(choice, *sizes) / 2
    chunk = None if choice.chunk_size >= scan.tokens else choice.chunk_size
    (cell,) = cell_passes(*sizes, chunk)
    return scan.tokens * cell.flops / 2


def _count_by_definition(scan: ScanRun) -> Counts:
    """Multiply-adds of a scan by the paper's convention."""
    entries = scan.tokens * scan.channels
    return {
        CONV: scan.taps * entries,
        QKV: 3 * 4 * entries,
        GATES: 3 * 2 * NUM_HEADS * entries,
        CELL: scan.tokens * entries,
    }


def _count_each_backend(scans: list[ScanRun], running: Choice) -> dict[Choice, float]:
    """The cells' multiply-adds by the running backend and by the others."""
    backends = [running, *(_choose(scans[0], name) for name in CELL_BACKENDS[1:])]
    return {
        choice: sum(_count_cell(scan, choice) for scan in scans)
        for choice in dict.fromkeys(backends)
    }


def _split_kernel(parts: Counts, scans: list[ScanRun]) -> None:
    """Split the count of one fused kernel into the parts it computes, in place."""
    mixed = parts.pop(MIXED, 0.0)
    if mixed:
        own = _total([_count_by_definition(scan) for scan in scans])
        parts[CONV], parts[QKV] = own[CONV], own[QKV] + parts.get(QKV, 0.0)
        parts[GATES] = parts.get(GATES, 0.0) + mixed - own[CONV] - own[QKV]


def _replace_cell(parts: Counts, scans: list[ScanRun], name: str) -> None:
    """Replace the cells' count with that of another backend, in place."""
    parts[CELL] = sum(_count_cell(scan, _choose(scan, name)) for scan in scans)
    if name == 'triton':  # q, k, v without stored zeros; gates from two inputs instead of three
        own = _total([_count_by_definition(scan) for scan in scans])
        parts[QKV], parts[GATES] = own[QKV], own[GATES] * 2 / 3


def _total(counts: list[Counts]) -> Counts:
    return {part: sum(count[part] for count in counts) for part in counts[0]}
