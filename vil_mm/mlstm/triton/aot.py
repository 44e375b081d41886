"""Compiling launched kernels ahead of time, without a GPU: registers, spills, shared memory.

for usage in compile_launches(cell_launches(96, torch.bfloat16, 4096, 90), 90):
    print(usage)

Any function that launches kernels can be listed so: call it on meta tensors within
:func:`~vil_mm.mlstm.triton.runtime.recorded`.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vil_mm.mlstm.triton.launches import backward, forward
from vil_mm.mlstm.triton.runtime import Config, Launch, recorded

POINTERS = {
    torch.float32: '*fp32',
    torch.bfloat16: '*bf16',
    torch.float16: '*fp16',
}


class Usage(NamedTuple):
    """What one program of a compiled kernel takes; ``spilled`` in bytes a thread."""

    kernel: str
    config: Config
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
    float32_states = (state_dtype or dtype) == torch.float32
    with recorded(capability) as launches:
        h, b, m = forward(q, k, v, igate, fgate, True, 0, 1e-6, float32_states)
        dh = torch.empty_like(h)
        backward(dh, q, k, v, igate, fgate, h, b, m, True, 1e-6, float32_states)
    return launches


def compile_launches(launches: Iterable[Launch], capability: int) -> Iterator[Usage]:
    """Compile every config of every launch for a GPU of ``capability`` (80, 90)."""
    for launch in launches:
        for config in launch.configs:
            yield compile_launch(launch, config, capability)


def compile_launch(launch: Launch, config: Config, capability: int) -> Usage:
    """Compile one kernel as the launch would have."""
    source = ASTSource(launch.kernel, *_specialise(launch.kernel, launch.arguments))
    target = GPUTarget('cuda', capability, 32)
    compiled = triton.compile(source, target=target, options=config._asdict())
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
        config=config,
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
