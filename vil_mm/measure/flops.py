"""What a whole model computes for one image: as it runs, and by the paper's convention.

Counted are matrix products and convolutions, in multiply-adds (a FLOP count is twice that), as
PyTorch dispatches them: padding, stored zeros and both triangles included. Norms, activations,
exponentials and resizing are left out, as such counts do.

The paper's convention (Alkin et al., ImageNet table: 1.5, 5.1 and 18.6 G at 224 pixels) counts the
definition instead: no weight that is zero by construction, and of the two S x S products of the
cell's parallel form the half on and below the diagonal. Of B it gives 18.5. It says nothing about
the form that runs.
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

FORMS = ('auto', 'parallel', 'chunkwise', 'fused')
AUXILIARY = 'auxiliary head'
Counts = dict[str, float]


@dataclass(frozen=True)
class FlopCount:
    """Multiply-adds of one image, forward.

    Attributes:
        parts: What is counted, by part of the model.
        paper: The same parts by the paper's convention; other backbones' as they run.
        auxiliary: Of the auxiliary head, which only training runs.
        forms: Of all mLSTM cells together in each form; empty for other backbones.
        form: The one of them that ``parts`` has.
        parameters: Of the whole model.
        not_counted: Operators that may compute much and have no formula.
    """

    parts: Counts
    paper: Counts
    auxiliary: float
    forms: dict[Choice, float]
    form: Choice | None
    parameters: int
    not_counted: list[str]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def paper_total(self) -> float:
        return sum(self.paper.values())


def count_flops(model: nn.Module, shape: tuple[int, int], form: str = 'auto') -> FlopCount:
    """Count a forward pass of one image; of a model on a CPU by shapes alone, nothing is computed.

    Args:
        model: A segmentor, a classifier, or a detector, of which backbone and neck are counted.
        shape: Height and width in pixels.
        form: Of the mLSTM cell: 'auto' is the one that runs on the model's device; 'parallel',
            'chunkwise', or 'fused' for that of the CUDA kernels, also where they cannot run.

    Raises:
        ValueError: The form is not known, or the model does not run at this size.
    """
    if form not in FORMS:
        raise ValueError(f'form {form!r} is not known; choose one of {", ".join(FORMS)}')
    on_gpu = next(model.parameters()).is_cuda
    model = model if on_gpu else copy.deepcopy(model).to('meta')
    watch = FlopWatch(model)
    _run(model, shape, watch)
    if form == 'auto' and not on_gpu and 'triton' in {scan.backend for scan in watch.scans}:
        form = 'chunkwise'  # what a CPU runs instead
    parts = {part: count / 2 for part, count in watch.flops.items()}
    auxiliary = parts.pop(AUXILIARY, 0.0)
    paper, forms, running = dict(parts), {}, None
    if watch.scans:
        running = _form(watch.scans[0], watch.scans[0].backend if form == 'auto' else form)
        _split_kernel(parts, watch.scans)
        if form != 'auto':
            _put_form(parts, watch.scans, form)
        paper = {**parts, **_total([_definition(scan) for scan in watch.scans])}
        forms = _each_form(watch.scans, running)
    return FlopCount(
        parts, paper, auxiliary, forms, running, count_parameters(model), sorted(watch.not_counted)
    )


def format_count(count: FlopCount, shape: tuple[int, int], device: str) -> str:
    """A table by part, the forms of the cell side by side, and what stands for what."""
    own = name_form(count.form) if count.form else 'no mLSTM cell'
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
    if count.form:
        lines += [
            "paper: the paper's convention, half of the S x S products of the parallel form",
            '',
            f'{"mLSTM cell in the form":<40}{"cell":>10}{"to parallel":>13}',
            *_form_lines(count),
        ]
    if count.not_counted:
        lines.append(f'NOT COUNTED, no formula: {", ".join(count.not_counted)}')
    return '\n'.join(lines)


def name_form(form: Choice) -> str:
    """In words, as ``chunkwise, 64 tokens a chunk``."""
    name = {'fused': 'fused CUDA kernels'}.get(form.backend, form.backend)
    return f'{name}, {form.chunk_size} tokens a chunk' if form.chunk_size else name


def _form_lines(count: FlopCount) -> list[str]:
    whole = count.forms[Choice('parallel')]
    return [
        f'{name_form(form):<40}{_giga(amount)}{f"x {amount / whole:.2f}":>13}'
        + ('  counted above' if form == count.form else '')
        for form, amount in count.forms.items()
    ]


def _giga(amount: float) -> str:
    return f'{amount / 1e9:>10.4f}'


def _run(model: nn.Module, shape: tuple[int, int], watch: FlopWatch) -> None:
    """A forward pass; of a segmentor the auxiliary head too.

    Raises:
        ValueError: It fails.
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


def _form(scan: ScanRun, name: str) -> Choice:
    """The form of a name, with the chunk length that is chosen for a scan; see FORMS."""
    sizes = scan.tokens, NUM_HEADS, scan.channels // NUM_HEADS
    if name == 'auto':
        return choose_backend(*sizes)
    if name == 'chunkwise':
        return Choice(name, choose_chunk_size(*sizes))
    if name in ('fused', 'triton'):
        return Choice('fused', min(choose_triton_chunk(*sizes), scan.tokens))
    return Choice(name)


def _cell(scan: ScanRun, form: Choice) -> float:
    """Multiply-adds of a scan's cell."""
    sizes = scan.tokens, NUM_HEADS, scan.channels // NUM_HEADS
    if form.backend != 'fused':
        return flops(form, *sizes) / 2
    chunk = None if form.chunk_size >= scan.tokens else form.chunk_size
    (cell,) = cell_passes(*sizes, chunk)
    return scan.tokens * cell.flops / 2


def _definition(scan: ScanRun) -> Counts:
    """Multiply-adds of a scan by the paper's convention."""
    entries = scan.tokens * scan.channels
    return {
        CONV: scan.taps * entries,
        QKV: 3 * 4 * entries,
        GATES: 3 * 2 * NUM_HEADS * entries,
        CELL: scan.tokens * entries,
    }


def _each_form(scans: list[ScanRun], running: Choice) -> dict[Choice, float]:
    """The cells' count in the form that runs and in the others."""
    forms = [running, *(_form(scans[0], name) for name in FORMS[1:])]
    return {form: sum(_cell(scan, form) for scan in scans) for form in dict.fromkeys(forms)}


def _split_kernel(parts: Counts, scans: list[ScanRun]) -> None:
    """Give what one fused kernel computes to the parts that it consists of, in place."""
    mixed = parts.pop(MIXED, 0.0)
    if mixed:
        own = _total([_definition(scan) for scan in scans])
        parts[CONV], parts[QKV] = own[CONV], own[QKV] + parts.get(QKV, 0.0)
        parts[GATES] = parts.get(GATES, 0.0) + mixed - own[CONV] - own[QKV]


def _put_form(parts: Counts, scans: list[ScanRun], name: str) -> None:
    """Replace the cells' count by that of another form, in place."""
    parts[CELL] = sum(_cell(scan, _form(scan, name)) for scan in scans)
    if name == 'fused':  # q, k, v without stored zeros; gates from two inputs instead of three
        own = _total([_definition(scan) for scan in scans])
        parts[QKV], parts[GATES] = own[QKV], own[GATES] * 2 / 3


def _total(counts: list[Counts]) -> Counts:
    return {part: sum(count[part] for count in counts) for part in counts[0]}
