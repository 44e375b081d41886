"""Whether Triton kernels can run, and the one place where they are launched."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

HAS_TRITON = importlib.util.find_spec('triton') is not None
# Triton's interpreter runs kernels on a CPU, slowly: for tests. It must be chosen before any kernel
# is imported.
INTERPRETED = HAS_TRITON and os.environ.get('TRITON_INTERPRET') == '1'
# VIL_MM_KERNELS=0 runs everything in plain PyTorch: neither these kernels nor the native scan.
DISABLED = os.environ.get('VIL_MM_KERNELS') == '0'

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
AXES = ('batch', 'row', 'column', 'head')  # of maps (B, Hg, Wg, ...), in names of strides


def unsupported_reason(*tensors: Tensor) -> str | None:
    """Why kernels cannot run on ``tensors``, for a message; None if they can."""
    if DISABLED:
        return 'the environment variable VIL_MM_KERNELS is 0'
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
    if torch.compiler.is_compiling():  # the compiled operator asks when it runs
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) < (8, 0)


class CompileOptions(NamedTuple):
    """Warps per program, and stages of the pipeline that loads ahead in its loops."""

    num_warps: int
    num_stages: int = 2


class Launch(NamedTuple):
    """A kernel and the arguments it would have been launched with."""

    kernel: Any
    grid: tuple[int, ...]
    options: tuple[CompileOptions, ...]
    arguments: dict[str, Any]


# Bytes of shared memory that one program may use, by compute capability (CUDA programming guide).
SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024}

_TUNING = threading.RLock()  # Triton's autotuner keeps the arguments of the current call
_recorded: list[Launch] | None = None
_recorded_capability = 90


@contextlib.contextmanager
def recorded(capability: int = 90) -> Iterator[list[Launch]]:
    """List launches instead of running them, so that tensors may be on the meta device.

    Args:
        capability: Compute capability of the GPU that they are for: 80 (A100) or 90 (H100, H200).
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


def launch(
    kernel: Any, grid: tuple[int, ...], options: tuple[CompileOptions, ...], **arguments: Any
) -> None:
    """Run a ``triton.jit`` kernel over ``grid``.

    Args:
        kernel: Takes from ``arguments`` those that it names. Its arguments ``x_batch``, ``x_row``,
            ``x_column`` and ``x_head`` are the first four strides of the tensor ``x``.
        grid: Programs along up to three axes; nothing is launched if one is 0.
        options: If there are several, each is timed once for every set of compile-time arguments,
            and Triton keeps the fastest on disk.
        arguments: Scalars, None, and tensors of one device.
    """
    if 0 in grid:
        return
    arguments = _bind(kernel, arguments)
    if _recorded is not None:
        _recorded.append(Launch(kernel, grid, options, arguments))
    elif INTERPRETED:
        kernel[grid](**arguments)
    else:
        device = next(x.device for x in arguments.values() if isinstance(x, Tensor))
        with torch.cuda.device(device):
            if len(options) == 1:
                kernel[grid](**arguments, **options[0]._asdict())
            else:
                with _TUNING:
                    _tuned(kernel, options)[grid](**arguments)


def _bind(kernel: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    bound = {}
    for name in kernel.arg_names:
        if name in arguments:
            bound[name] = arguments[name]
        else:
            tensor, axis = name.rsplit('_', 1)
            bound[name] = arguments[tensor].stride(AXES.index(axis))
    return bound


@functools.cache
def _tuned(kernel: Any, options: tuple[CompileOptions, ...]) -> Any:
    import triton

    constants = [kernel.arg_names[n] for n in kernel.constexprs]
    choices = [triton.Config({}, **choice._asdict()) for choice in options]
    return triton.autotune(choices, key=constants, cache_results=True)(kernel)
