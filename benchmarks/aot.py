"""Compile launches ahead of time, without a GPU: registers, spills, shared memory.

Within ``recorded``, functions list the kernels that they would launch, and take meta tensors.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vil_mm.layers.fused import launches as fused
from vil_mm.layers.fused.table import AFTER_CONV, GATES
from vil_mm.mlstm.triton.launches import backward, forward
from vil_mm.mlstm.triton.runtime import CompileOptions, Launch, recorded

CHANNELS = (384, 768, 1536, 2048)  # E of ViL-T, S, B, L
TAPS = (9, 4)  # of the convolutions of version 2 and 1
GRID = (2, 32, 32)

POINTERS = {
    torch.float32: '*fp32',
    torch.bfloat16: '*bf16',
    torch.float16: '*fp16',
}


class Usage(NamedTuple):
    """Resources of one program of a compiled kernel; ``spilled`` in bytes per thread."""

    kernel: str
    options: CompileOptions
    registers: int
    spilled: int
    shared: int
    wgmma: int  # Hopper's asynchronous matrix instructions in the code


def cell_launches(
    width: int,
    dtype: torch.dtype,
    length: int,
    capability: int,
    *,
    state_dtype: torch.dtype | None = None,
) -> list[Launch]:
    """Forward and backward launches of the cell for two images and four heads; nothing is run.

    Args:
        width: Channels of a head, DH.
        dtype: Of q, k, v; the gates are in float32.
        length: Tokens S.
        capability: Of the GPU that the tiles are chosen for: 80 or 90.
        state_dtype: See :func:`vil_mm.mlstm.triton.op.mlstm_fused`.
    """
    q, k, v = (torch.empty(2, 1, length, 4, width, dtype=dtype, device='meta') for _ in range(3))
    igate, fgate = torch.empty(2, 1, length, 8, device='meta').chunk(2, dim=-1)
    state_dtype = state_dtype or (torch.float32 if dtype == torch.float32 else torch.bfloat16)
    with recorded(capability) as launches:
        h, b, m = forward(q, k, v, igate, fgate, True, 0, 1e-6, state_dtype)
        dh = torch.empty_like(h)
        backward(dh, q, k, v, igate, fgate, h, b, m, True, 1e-6, state_dtype)
    return launches


def layer_launches() -> list[Launch]:
    """Launches of the layer's kernels, forward and backward, at the published models' sizes.

    The local mixing comes once for each dtype: its code is the same for every E.
    """
    with recorded() as launches:
        for dtype in (torch.bfloat16, torch.float32):
            for taps in TAPS:
                _launch_mixing(CHANNELS[0], taps, dtype)
            for channels in CHANNELS:
                _launch_gate(channels, dtype)
    return launches


def _launch_mixing(channels: int, taps: int, dtype: torch.dtype) -> None:
    x, y, weight = _tensors(channels, dtype)
    table = torch.empty(taps + AFTER_CONV, channels, device='meta')
    gates = torch.empty(*GRID, GATES, device='meta')
    for reverse in (False, True):
        fused.mix_forward(x, table, weight[:GATES], reverse)
        fused.mix_backward(x, table, y, y, y, y, y, gates, reverse)


def _launch_gate(channels: int, dtype: torch.dtype) -> None:
    z, y, weight = _tensors(channels, dtype)
    h = y.unflatten(-1, (4, -1))
    fused.gate_forward(h, y, z, weight, weight, weight, 1e-5)
    fused.gate_backward(h, y, z, y, weight, weight, weight, 1e-5)


def _tensors(channels: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Half of a packed projection, a map of its own, and one weight a channel."""
    packed = torch.empty(*GRID, 2 * channels, dtype=dtype, device='meta')
    one = torch.empty(*GRID, channels, dtype=dtype, device='meta')
    return packed[..., :channels], one, torch.empty(channels, device='meta')


def compile_launch(launch: Launch, options: CompileOptions, capability: int) -> Usage:
    """Compile one kernel as the launch would have."""
    source = ASTSource(launch.kernel, *_specialise(launch.kernel, launch.arguments))
    target = GPUTarget('cuda', capability, 32)
    compiled = triton.compile(source, target=target, options=options._asdict())
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(compiled.asm['cubin'])
        file.flush()
        resources = subprocess.run(
            [_cuobjdump(), '--dump-resource-usage', file.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    found = {name: int(size) for name, size in re.findall(r'(REG|STACK|LOCAL):(\d+)', resources)}
    return Usage(
        kernel=launch.kernel.__name__,
        options=options,
        registers=found['REG'],
        spilled=found['STACK'] + found['LOCAL'],
        shared=compiled.metadata.shared,
        wgmma=compiled.asm['ptx'].count('wgmma.mma_async'),
    )


def _specialise(kernel: Any, arguments: dict[str, Any]) -> tuple[dict, dict, dict]:
    """Signature, constants and alignments that Triton would derive from the arguments."""
    signature, constants, attributes = {}, {}, {}
    for index, name in enumerate(kernel.arg_names):
        value = arguments[name]
        if isinstance(value, Tensor):
            signature[name] = POINTERS[value.dtype]
            attributes[(index,)] = [['tt.divisibility', 16]]
        elif index in kernel.constexprs or value is None or value == 1:
            signature[name] = 'constexpr'
            constants[(index,)] = value
        elif isinstance(value, float):
            signature[name] = 'fp32'
        else:
            signature[name] = 'i32' if abs(value) < 2**31 else 'i64'
            if value % 16 == 0:
                attributes[(index,)] = [['tt.divisibility', 16]]
    return signature, constants, attributes


def _cuobjdump() -> str:
    return str(Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin' / 'cuobjdump')
