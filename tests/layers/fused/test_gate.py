"""The fused output gate against the plain one in float64, interpreted where there is no GPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from kernel_guards import Guards, Weights, error

pytest.importorskip('triton')

from vil_mm.layers.fused import gate, launches
from vil_mm.mlstm.triton import memory
from vil_mm.mlstm.triton.runtime import INTERPRETED

pytestmark = pytest.mark.skipif(
    not (INTERPRETED or torch.cuda.is_available()), reason='needs CUDA or TRITON_INTERPRET=1'
)
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
TIGHT = 1e-5 if DEVICE == 'cuda' else 1e-6  # a GPU makes a float32 product of three of tf32
TOLERANCE = {torch.float32: 5e-7, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def make(grid=(2, 3, 5), width=16, bias=True, dtype=torch.float32):
    """h, a and the packed projection whose second half is z; weight, bias, skip."""
    torch.manual_seed(0)
    channels = 4 * width
    tensors = [torch.randn(*grid, 4, width), torch.randn(*grid, channels)]
    tensors = [*tensors, torch.randn(*grid, 2 * channels)]
    weights = [torch.randn(channels), torch.randn(channels) if bias else None]
    weights = [*weights, torch.randn(channels)]
    return (
        [x.to(DEVICE, dtype) for x in tensors],
        [None if p is None else p.to(DEVICE) for p in weights],
    )


def norm_skip_gate(h, a, z, weight, bias, skip):
    return gate.norm_skip_gate(h, a, z, Weights(weight, bias), skip)


def plain(h, a, z, weight, bias, skip):
    normed = F.layer_norm(h, h.shape[-1:]).flatten(-2) * (1 + weight)
    return (normed + (0 if bias is None else bias) + skip * a) * F.silu(z)


def run(tensors, weights, transposed=False, fused=True, dy=None):
    """y, and gradients of all tensors and weights."""
    leaves = [x.detach().requires_grad_() for x in tensors]
    weights = [None if p is None else p.detach().requires_grad_() for p in weights]
    h, a, packed = (x.transpose(1, 2) if transposed else x for x in leaves)
    z = packed[..., packed.shape[-1] // 2 :]
    y = (norm_skip_gate if fused else plain)(h, a, z, *weights)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)) if dy is None else dy
    inputs = [*leaves, *(p for p in weights if p is not None)]
    return [y, *torch.autograd.grad(y, inputs, dy.to(y))], dy.to(y)


def double(tensors):
    return [None if x is None else x.double() for x in tensors]


def agree(tensors, weights, transposed=False):
    ours, dy = run(tensors, weights, transposed)
    exact, _ = run(double(tensors), double(weights), transposed, False, dy.double())
    for x, expected in zip(ours, exact, strict=True):
        assert error(x, expected) < TOLERANCE[tensors[0].dtype]


@pytest.mark.parametrize('width', [16, 48, 96, 192, 384, 512])
def test_head_sizes(width):
    agree(*make((1, 2, 3), width))


@pytest.mark.parametrize('transposed', [False, True], ids=['rows', 'columns'])
@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
def test_frames_and_dtypes(transposed, dtype):
    agree(*make(width=32, dtype=dtype), transposed)


@pytest.mark.parametrize('grid', [(1, 1, 1), (3, 1, 4), (1, 7, 7), (1, 14, 14)], ids=str)
def test_ragged_grids(grid):
    agree(*make(grid))


def test_without_bias():
    agree(*make(bias=False))


def test_a_mean_far_from_zero():
    """The variance is taken of the differences from the mean, not as a difference of squares."""
    tensors, weights = make(width=96)
    tensors[0] += 100
    ours, dy = run(tensors, weights)
    exact, _ = run(double(tensors), double(weights), False, False, dy.double())
    assert error(ours[0], exact[0]) < 2e-5


def test_many_programs_share_the_tokens(monkeypatch):
    monkeypatch.setattr(launches, 'steps_per_program', lambda *_: 2)
    agree(*make((3, 12, 12), 64))


def test_the_result_lies_as_z_does():
    (y, *_), _ = run(*make(), transposed=True)
    assert y.transpose(1, 2).is_contiguous()


def test_an_expanded_gradient():
    tensors, weights = make()
    ours, _ = run(tensors, weights, dy=torch.ones(()).expand(2, 3, 5, 64))
    exact, _ = run(double(tensors), double(weights), fused=False, dy=torch.ones(2, 3, 5, 64))
    for x, expected in zip(ours, exact, strict=True):
        assert error(x, expected) < TIGHT


@pytest.mark.parametrize('width', [48, 64])
def test_memory_around_the_tensors(monkeypatch, width):
    guards = Guards()
    monkeypatch.setattr(memory, 'empty', guards.empty)
    monkeypatch.setattr(launches, 'empty', guards.empty)
    tensors, weights = make(width=width)
    h, a, packed = (guards.surround(x) for x in tensors)
    packed[..., : 4 * width] = torch.nan  # the half that is not z's
    inputs = (h, a, packed[..., 4 * width :])
    weights = [guards.surround(p) for p in weights]
    y = launches.gate_forward(*inputs, *weights, 1e-5)
    launches.gate_backward(*inputs, guards.surround(torch.randn(y.shape)), *weights, 1e-5)
    assert len(guards.buffers) == 6 + 1 + 1 + 4
    guards.check()


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no_bias'])
def test_plain_form_of_the_op(monkeypatch, bias):
    """What runs in place of the kernels on a CPU."""
    tensors, weights = make(bias=bias)
    monkeypatch.setattr(gate, 'unsupported_reason', lambda *tensors: 'told so')
    cpu = [None if p is None else p.cpu() for p in weights]
    ours, dy = run([x.cpu() for x in tensors], cpu, True)
    monkeypatch.undo()
    fused, _ = run(tensors, weights, True, dy=dy)
    for x, y in zip(ours, fused, strict=True):
        assert x.stride() == y.stride()
        assert error(x, y.cpu()) < TIGHT


def test_weights_in_half_precision():
    """As of a model that was made bfloat16 as a whole: they are added to one in float32."""
    tensors, weights = make((1, 2, 3))
    weights = [w.detach().bfloat16().requires_grad_() for w in weights]
    ours, dy = run(tensors, weights)
    exact, _ = run(double(tensors), double(weights), fused=False, dy=dy.double())
    assert all(x.dtype == torch.bfloat16 for x in ours[-3:])
    for x, expected in zip(ours, exact, strict=True):
        assert error(x, expected) < (2e-2 if x.dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no_bias'])
def test_the_op_keeps_the_rules(bias):
    (h, a, packed), weights = make((1, 2, 3), bias=bias)
    inputs = [h, a, packed[..., 64:].detach(), *weights]
    inputs = [None if x is None else x.requires_grad_() for x in inputs]
    torch.library.opcheck(gate.gate_op, (*inputs, 1e-5))


def test_compiles_to_one_graph():
    tensors, weights = make()
    weights = [p.requires_grad_() for p in weights]

    def step(h, a, packed, *weights):
        return norm_skip_gate(h, a, packed[..., 64:], *weights)

    eager = step(*tensors, *weights)
    compiled = torch.compile(step, fullgraph=True, backend='aot_eager')(*tensors, *weights)
    torch.testing.assert_close(compiled, eager)
    ours, expected = (torch.autograd.grad(y.square().sum(), weights) for y in (compiled, eager))
    torch.testing.assert_close(ours, expected)
