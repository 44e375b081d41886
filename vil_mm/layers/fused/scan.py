"""A whole scan by Triton kernels, in three operators. Only this module decides when it runs."""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor, nn

from vil_mm.layers.conv import CausalConv1d, TokenConv2d
from vil_mm.layers.fused.gate import norm_skip_gate
from vil_mm.layers.fused.mix import local_mix
from vil_mm.layers.gates import GateLinear
from vil_mm.layers.headwise import BlockDiagonalLinear
from vil_mm.layers.norm import HeadNorm
from vil_mm.layers.plain import altered
from vil_mm.mlstm import mlstm
from vil_mm.mlstm.triton.runtime import unsupported_reason

NUM_HEADS = 4
# the classes whose weights the kernels use instead of calling the module
CLASSES = {
    'conv': (TokenConv2d, CausalConv1d),
    'q_proj': (BlockDiagonalLinear,),
    'k_proj': (BlockDiagonalLinear,),
    'v_proj': (BlockDiagonalLinear,),
    'igate': (GateLinear,),
    'fgate': (GateLinear,),
    'head_norm': (HeadNorm,),
}


def can_fuse(scan: nn.Module, x: Tensor) -> bool:
    """Whether :func:`fused_scan` may replace a scan of x ``(B, Hg, Wg, E)``.

    Not if one of its modules was altered: then the modules are called, after one line in the log.
    """
    wanted = scan.mlstm_backend == 'triton' or (scan.mlstm_backend == 'auto' and x.is_cuda)
    if not wanted or x.shape[-1] % (16 * NUM_HEADS) or unsupported_reason(x) is not None:
        return False
    reason = altered_module(scan)
    if reason and not torch.compiler.is_compiling():
        _log(reason)
    return reason is None


def altered_module(scan: nn.Module) -> str | None:
    """The first module of a scan that has to be called, and why, for a message."""
    for name, classes in CLASSES.items():
        reason = altered(scan._modules[name], *classes)  # an attribute takes longer to find
        if reason:
            return f'{name} {reason}'
    return None


def fused_scan(scan: nn.Module, x: Tensor, z: Tensor, reverse: bool) -> Tensor:
    """The result of ``scan.by_rows``, from the weights of its modules.

    Args:
        scan: A :class:`vil_mm.layers.Scan` for which :func:`can_fuse`.
        x, z: ``(B, Hg, Wg, E)``.
        reverse: Read the sequence from its end.
    """
    a, q, k, v, gates = local_mix(scan, x, reverse)
    q, k, v = (y.unflatten(-1, (NUM_HEADS, -1)) for y in (q, k, v))
    igate, fgate = gates.chunk(2, dim=-1)
    h = mlstm(q, k, v, igate, fgate, reverse=reverse, backend=scan.mlstm_backend)
    return norm_skip_gate(h, a, z, scan.head_norm, scan.skip)


@functools.cache
def _log(reason: str) -> None:
    logging.getLogger('vil_mm').warning(
        "vil_mm: scans run without their fused kernels, module by module: a scan's %s", reason
    )
