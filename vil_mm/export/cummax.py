"""A running maximum for ONNX, which has no operator for it."""

from __future__ import annotations

import math

from onnxscript import opset18 as op


def onnx_cummax(x, dim: int):
    """``torch.cummax`` over the last axis, of known length L, in log2(L) steps.

    Step j takes the maximum with the entry 2^j positions before. After it, each entry is the
    maximum of the 2^(j+1) entries that end there (Hillis and Steele, "Data parallel algorithms",
    1986). The last of equal entries counts, as in PyTorch. The exporter drops the indices if they
    are unused, as in inference.

    Raises:
        ValueError: The axis is not the last one, or its length is unknown.
    """
    length = x.shape[-1]
    if dim not in (-1, len(x.shape) - 1) or not isinstance(length, int):
        raise ValueError(f'cummax over axis {dim} of a tensor of shape {x.shape} is not supported')
    index = op.Expand(op.Constant(value_ints=range(length)), op.Shape(x))
    step = 1
    while step < length:
        earlier = op.Pad(op.Slice(x, [0], [length - step], [-1]), [step, 0], -math.inf, [-1])
        earlier_index = op.Pad(op.Slice(index, [0], [length - step], [-1]), [step, 0], None, [-1])
        index = op.Where(op.GreaterOrEqual(x, earlier), index, earlier_index)
        x = op.Max(x, earlier)
        step *= 2
    return x, index
