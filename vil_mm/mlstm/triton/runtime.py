"""Whether the fused kernels can run, and the one place where they are launched."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

HAS_TRITON = importlib.util.find_spec('triton') is not None
# Triton's interpreter runs kernels on a CPU, slowly: for tests. It must be chosen before any kernel
# is imported.
INTERPRETED = HAS_TRITON and os.environ.get('TRITON_INTERPRET') == '1'

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def unsupported_reason(*tensors: Tensor) -> str | None:
    """Why fused kernels cannot run on ``tensors``, in words; None when they can."""
    if not HAS_TRITON:
        return 'the package triton is not installed'
    for x in tensors:
        if x.dtype not in DTYPES:
            return f'they compute in float32, bfloat16 or float16, not in {x.dtype}'
        if x.device.type != 'cuda' and not (INTERPRETED and x.device.type == 'cpu'):
            return f'they run on CUDA devices, not on {x.device.type!r}'
        if x.device.type == 'cuda' and _is_too_old(x.device):
            return 'they need an NVIDIA GPU of compute capability 8.0 or newer'
    return None


def _is_too_old(device: torch.device) -> bool:
    if torch.compiler.is_compiling():  # cannot ask; the compiled operator will
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) < (8, 0)


class Config(NamedTuple):
    """How a kernel is compiled: warps a program, and stages of its loops' load pipeline."""

    num_warps: int
    num_stages: int = 2


class Launch(NamedTuple):
    """A kernel and the arguments it would have been launched with."""

    kernel: Any
    grid: tuple[int, ...]
    configs: tuple[Config, ...]
    arguments: dict[str, Any]


# Bytes of shared memory that one program may use (CUDA programming guide, compute capabilities).
SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024}

_recorded: list[Launch] | None = None
_recorded_capability = 90


@contextlib.contextmanager
def recorded(capability: int = 90) -> Iterator[list[Launch]]:
    """Within it, launches are listed instead of run: tensors may then be on the meta device.

    Args:
        capability: Of the GPU that the launches are meant for: 80 (A100) or 90 (H100, H200).
    """
    global _recorded, _recorded_capability
    before = _recorded, _recorded_capability
    _recorded, _recorded_capability = [], capability
    try:
        yield _recorded
    finally:
        _recorded, _recorded_capability = before


def shared_memory(device: torch.device) -> int:
    """Bytes of shared memory that one program may use on ``device``."""
    if device.type == 'cuda':
        return torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    return SHARED_MEMORY[_recorded_capability]


def launch(kernel: Any, grid: tuple[int, ...], configs: tuple[Config, ...], **arguments) -> None:
    """Run a ``triton.jit`` kernel over ``grid``.

    Of several configs the fastest is measured once for each set of compile-time arguments and kept
    on disk by Triton. All tensors must be on the device of the first.
    """
    if 0 in grid:
        return
    if _recorded is not None:
        _recorded.append(Launch(kernel, grid, configs, arguments))
    elif INTERPRETED:
        kernel[grid](**arguments)
    else:
        device = next(x.device for x in arguments.values() if isinstance(x, Tensor))
        with torch.cuda.device(device):
            if len(configs) == 1:
                kernel[grid](**arguments, **configs[0]._asdict())
            else:
                _tuned(kernel, configs)[grid](**arguments)


@functools.cache
def _tuned(kernel: Any, configs: tuple[Config, ...]) -> Any:
    import triton

    constants = [kernel.arg_names[n] for n in kernel.constexprs]
    choices = [triton.Config({}, **config._asdict()) for config in configs]
    return triton.autotune(choices, key=constants, cache_results=True)(kernel)


def empty_in_order(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A new dense tensor of x's shape (B, S1, S2, ...), with S1 and S2 in memory as in x.

    So the result of a scan by columns, which is a transposed view, lies in memory by rows again.
    """
    dtype = dtype or x.dtype
    if x.stride(1) >= x.stride(2):
        return x.new_empty(x.shape, dtype=dtype)
    batch, rows, columns, *rest = x.shape
    return x.new_empty((batch, columns, rows, *rest), dtype=dtype).transpose(1, 2)
