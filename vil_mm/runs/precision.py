"""Mixed precision of a run."""

from __future__ import annotations

import torch
from mmengine.config import ConfigDict

from vil_mm.errors import ArgumentError

PRECISIONS = ('auto', 'float16', 'bfloat16')

# full-precision wrapper -> float16 wrapper; ours skip non-finite losses
_FLOAT16 = {
    'OptimWrapper': 'AmpOptimWrapper',
    'FiniteLossOptimWrapper': 'FiniteLossAmpOptimWrapper',
    'AutocastOptimWrapper': 'FiniteLossAmpOptimWrapper',
}
_SCALED = tuple(_FLOAT16.values())


def use_mixed_precision(optim_wrapper: ConfigDict, precision: str = 'auto') -> None:
    """Replace a config's optimizer wrapper with one for mixed precision, in place.

    Args:
        optim_wrapper: The config's ``optim_wrapper``.
        precision: 'float16' with loss scaling, on GPUs only; 'bfloat16'; or 'auto', which keeps the
            config's mixed precision if it has one, and otherwise uses float16 on a GPU and bfloat16
            on a CPU.

    Raises:
        ValueError: The precision is unknown or float16 on a CPU, or the wrapper is not supported.
    """
    if precision not in PRECISIONS:
        raise ArgumentError(f'choose one of {", ".join(PRECISIONS)}', amp=precision)
    kind, gpu = optim_wrapper.get('type', 'OptimWrapper'), torch.cuda.is_available()
    if kind not in (*_FLOAT16, *_SCALED):
        raise ArgumentError(
            f'supports {", ".join(_FLOAT16)} and its own wrappers, not {kind}', amp=precision
        )
    if precision == 'auto':
        if kind in ('AutocastOptimWrapper', *_SCALED):
            return
        precision = 'float16' if gpu else 'bfloat16'
    if precision == 'bfloat16':
        _use_bfloat16(optim_wrapper, kind)
    elif gpu:
        _use_float16(optim_wrapper, kind)
    else:
        raise ArgumentError(
            'needs a GPU, and there is none: use bfloat16, or leave it out', amp='float16'
        )


def _use_bfloat16(optim_wrapper: ConfigDict, kind: str) -> None:
    for option in ('loss_scale', 'dtype', 'use_fsdp') if kind in _SCALED else ():
        optim_wrapper.pop(option, None)
    optim_wrapper.type = 'AutocastOptimWrapper'


def _use_float16(optim_wrapper: ConfigDict, kind: str) -> None:
    optim_wrapper.type = _FLOAT16.get(kind, kind)
    optim_wrapper.setdefault('loss_scale', 'dynamic')
    optim_wrapper.dtype = 'float16'
