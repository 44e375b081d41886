"""Load the compiled scan and call it: instruction set, version, arguments, threads."""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, Structure, c_double, c_int, c_int64, c_void_p
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vil_mm.layers.native.build import INSTRUCTION_SETS, library_path, source_digest

MAX_CHUNK, MAX_WIDTH = 96, 512  # as in source/scan.h
CHUNK = 60  # tokens of a chunk, about: more cost pairs of tokens, fewer cost states

HOW_TO_BUILD = 'run `python -m vil_mm --build-native`'


class Map(Structure):
    """``(B, Hg, Wg, E)`` with dense channels; strides in floats."""

    _fields_ = [('data', c_void_p), ('image', c_int64), ('row', c_int64), ('column', c_int64)]


PARAMETERS = (
    'conv', 'conv_bias', 'q', 'k', 'v', 'q_bias', 'k_bias', 'v_bias',
    'igate', 'igate_bias', 'fgate', 'fgate_bias', 'norm', 'norm_bias', 'skip',
)  # fmt: skip


class Parameters(Structure):
    """Pointers to weights, or to their gradients."""

    _fields_ = [(name, c_void_p) for name in PARAMETERS]


class Arguments(Structure):
    """``Scan`` of source/scan.h, field by field."""

    _fields_ = [
        *((name, c_int64) for name in ('images', 'rows', 'columns', 'channels', 'reverse')),
        *((name, c_int64) for name in ('chunk', 'threads')),
        *((name, c_double) for name in ('norm_eps', 'eps')),
        ('parallel', c_void_p),
        *((name, Map) for name in 'xzy'),
        ('weights', Parameters),
        *((name, c_void_p) for name in ('gates', 'conv', 'hidden', 'states')),
        *((name, Map) for name in ('dy', 'dx', 'dz')),
        ('gradients', Parameters),
        *((name, c_void_p) for name in ('dconv', 'dgates')),
    ]


class Loaded(NamedTuple):
    """A library that can be used, or why there is none."""

    library: ctypes.CDLL | None
    instruction_set: str
    reason: str | None


@functools.cache
def load() -> Loaded:
    """The library for this processor, or one line that says why there is none."""
    found = [name for name in usable_sets() if library_path(name).is_file()]
    if not found:
        return Loaded(None, '', f'it is not built: {HOW_TO_BUILD}')
    path = library_path(found[0])
    try:
        library = ctypes.CDLL(str(path))
        library.vil_mm_source_digest.restype = ctypes.c_char_p
        library.vil_mm_scan_bytes.restype = c_int64
        digest, size = library.vil_mm_source_digest().decode(), library.vil_mm_scan_bytes()
    except (OSError, AttributeError) as error:
        return Loaded(None, '', f'{path} does not load ({error}): {HOW_TO_BUILD}')
    if digest != source_digest() or size != ctypes.sizeof(Arguments):
        return Loaded(None, '', f'{path} was built from other sources: {HOW_TO_BUILD}')
    for name in ('vil_mm_scan_forward', 'vil_mm_scan_backward'):
        function = getattr(library, name)
        function.argtypes, function.restype = [POINTER(Arguments)], c_int
    return Loaded(library, found[0], None)


def usable_sets() -> list[str]:
    """Instruction sets that this processor has, the widest first.

    PyTorch knows: its own kernels depend on it. ``ATEN_CPU_CAPABILITY`` limits both.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    names = list(INSTRUCTION_SETS)
    if capability.startswith('AVX512'):
        return names
    return [name for name in names if name == 'baseline' or name == capability.lower()]


@functools.cache
def parallel() -> int | None:
    """Address of the function by which PyTorch's own OpenMP runtime starts its threads.

    Two runtimes would each keep threads that wait by spinning, and take turns on the same cores.
    None if PyTorch uses another kind of threads; then the library starts its own for each call.
    """
    lib = Path(torch.__file__).parent / 'lib'
    for name in ('libtorch_cpu.so', 'libtorch_cpu.dylib'):
        try:
            function = ctypes.CDLL(str(lib / name)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, c_void_p).value
    return None


def call(name: str, arguments: Arguments) -> None:
    """Run ``vil_mm_scan_forward`` or ``_backward``.

    Raises:
        MemoryError: There was not enough of it.
        RuntimeError: The library does not load.
    """
    loaded = load()
    if loaded.library is None:
        raise RuntimeError(f'the native scan cannot run: {loaded.reason}')
    status = getattr(loaded.library, f'vil_mm_scan_{name}')(ctypes.byref(arguments))
    if status == 1:
        raise MemoryError('the native scan ran out of memory')
    if status:
        raise RuntimeError('the native scan failed: the system refused to start threads')


def chunk_size(length: int) -> int:
    """Tokens of a chunk for a sequence of ``length``: equal chunks, in steps of eight, up to 96."""
    chunks = max(1, round(length / CHUNK))
    return -(-length // (8 * chunks)) * 8


def as_map(x: Tensor) -> Map:
    """Of ``(B, Hg, Wg, E)``, whose last stride must be 1."""
    return Map(x.data_ptr(), *x.stride()[:3])


def as_parameters(tensors: list[Tensor | None]) -> Parameters:
    """Of contiguous tensors in the order of ``PARAMETERS``."""
    return Parameters(*(None if x is None else x.data_ptr() for x in tensors))


def describe() -> str:
    """Whether the native scan is ready, in a few words."""
    loaded = load()
    return f'no, {loaded.reason}' if loaded.reason else f'yes, {loaded.instruction_set}'
