"""Count FLOPs of matrix products and convolutions by part while a model runs.

The formulas are PyTorch's (``torch.utils.flop_counter``). This module adds those of the fused
operators and of one that PyTorch lacks, and assigns each product to a part of the model.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from types import CodeType

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, register_flop_formula, sdpa_flop_count

from vil_mm.layers import PatchEmbedding, Scan, ViLLayer
from vil_mm.layers.conv import causal_conv, token_conv
from vil_mm.layers.fused.scan import can_fuse
from vil_mm.layers.fused.table import fold_gates
from vil_mm.layers.headwise import block_diagonal
from vil_mm.mlstm import mlstm
from vil_mm.mlstm.roofline import cell_passes, choose_triton_chunk

PATCHES, PROJECTIONS = 'patch embedding', 'projections up and down'
CONV, QKV, GATES, CELL = 'convolutions', 'q, k, v', 'gates', 'mLSTM cell'
MIXED = 'convolutions, q, k, v and gates in one kernel'
# Functions whose products belong to a part of the scan; the outermost one counts.
_FUNCTIONS: dict[CodeType, str] = {
    mlstm.__code__: CELL,
    fold_gates.__code__: GATES,
    block_diagonal.__code__: QKV,
    token_conv.__code__: CONV,
    causal_conv.__code__: CONV,
}
_WITHOUT_PRODUCTS = {'vil_mm.norm_skip_gate'}


@dataclass(frozen=True)
class ScanRun:
    """A scan that ran: its size and the backend of its cell."""

    tokens: int
    channels: int
    taps: int
    backend: str


class FlopWatch(TorchDispatchMode):
    """Context manager that counts a model's forward FLOPs by part.

    Attributes:
        flops: FLOPs by part, twice the multiply-adds.
        scans: Scans of Vision-LSTM in the order in which they ran.
        not_counted: Operators without a formula that may be expensive.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        self.scans: list[ScanRun] = []
        self.not_counted: set[str] = set()
        self._model, self._handles, self._inside = model, [], []

    def __enter__(self) -> FlopWatch:
        for name, module in self._model.named_modules():
            part = _find_part(name, module)
            if part:
                enter = module.register_forward_pre_hook(lambda *_, p=part: self._inside.append(p))
                leave = module.register_forward_hook(lambda *_: self._leave())
                self._handles += [enter, leave]
            if isinstance(module, Scan):
                self._handles.append(module.register_forward_pre_hook(self._record))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        operator = func._overloadpacket
        if operator in flop_registry:
            count = flop_registry[operator](*args, **kwargs, out_val=out)
            self.flops[self._part(operator)] += count
        elif func.namespace not in ('aten', 'prim') or 'attention' in str(operator):
            self.not_counted |= {str(operator)} - _WITHOUT_PRODUCTS
        return out

    def _part(self, operator: object) -> str:
        part = self._inside[-1] if self._inside else 'other'
        if part != GATES:
            return part
        return MIXED if operator == torch.ops.vil_mm.local_mix else _find_caller()

    def _leave(self) -> None:
        self._inside.pop()  # a hook must not return a value, it would replace the output

    def _record(self, scan: Scan, inputs: tuple) -> None:
        _, height, width, channels = inputs[0].shape
        backend = 'triton' if can_fuse(scan, inputs[0]) else scan.plain_backend
        taps = scan.conv.weight[0].numel()
        self.scans.append(ScanRun(height * width, channels, taps, backend))


def _find_part(name: str, module: nn.Module) -> str | None:
    """The part that a module belongs to; None to keep the current one.

    A scan starts as gates: products outside of ``_FUNCTIONS`` belong to them.
    """
    if isinstance(module, PatchEmbedding):
        return PATCHES
    if isinstance(module, ViLLayer):
        return PROJECTIONS
    if isinstance(module, Scan):
        return GATES
    return name.replace('_', ' ') if name and '.' not in name else None


def _find_caller() -> str:
    """The part of the scan whose function called the current operator."""
    part, frame = GATES, sys._getframe(1)
    while frame is not None:
        part = _FUNCTIONS.get(frame.f_code, part)
        if frame.f_code is Scan.forward.__code__:
            break
        frame = frame.f_back
    return part


@register_flop_formula(torch.ops.vil_mm.mlstm)
def _fused_mlstm_flops(q, k, v, igate, fgate, reverse, chunk_size, *rest, **kwargs) -> int:
    """FLOPs of the fused cell's tiles for shapes ``(B, S1, S2, NH, DH)``."""
    batch, rows, columns, heads, width = q
    length = rows * columns
    chunk = chunk_size or choose_triton_chunk(length, heads, width)
    (cell,) = cell_passes(length, heads, width, None if chunk >= length else chunk)
    return round(batch * length * cell.flops)


@register_flop_formula(torch.ops.vil_mm.local_mix)
def _fused_mix_flops(x, table, *rest, **kwargs) -> int:
    """Each row of the table but four (biases) is a weight per channel; x is ``(B, Hg, Wg, E)``."""
    batch, height, width, channels = x
    return 2 * batch * height * width * channels * (table[0] - 4)


_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
if _CPU_ATTENTION not in flop_registry:  # a later PyTorch may have it

    @register_flop_formula(_CPU_ATTENTION)
    def _cpu_attention_flops(query, key, value, *rest, **kwargs) -> int:
        return sdpa_flop_count(query, key, value)
