"""The fused local mixing against the plain one in float64, interpreted where there is no GPU."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from kernel_guards import Guards, Weights, error

pytest.importorskip('triton')

from vil_mm.layers.conv import causal_conv, token_conv
from vil_mm.layers.fused import launches, mix
from vil_mm.layers.gates import gate_product
from vil_mm.layers.headwise import block_diagonal
from vil_mm.mlstm.triton import memory
from vil_mm.mlstm.triton.runtime import INTERPRETED

pytestmark = pytest.mark.skipif(
    not (INTERPRETED or torch.cuda.is_available()), reason='needs CUDA or TRITON_INTERPRET=1'
)
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
TIGHT = 1e-5 if DEVICE == 'cuda' else 1e-6  # a GPU makes a float32 product of three of tf32
TOLERANCE = {torch.float32: 5e-7, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def make(grid=(2, 3, 5), channels=64, taps=9, bias=True, dtype=torch.float32):
    """A packed projection and all parameters."""
    torch.manual_seed(0)
    parameters = [torch.randn(channels, 1, *((3, 3) if taps == 9 else (4,))), torch.randn(channels)]
    for _ in 'qkv':
        parameters.append(torch.randn(channels // 4, 4, 4) / 2)
        parameters.append(torch.randn(channels) if bias else None)
    parameters += [torch.randn(8, 3 * channels) / 10, torch.randn(8)]
    packed = torch.randn(*grid, 2 * channels).to(dtype)
    return packed.to(DEVICE), [None if p is None else p.to(DEVICE) for p in parameters]


class Parts(NamedTuple):
    """In the place of a scan of which only the modules' weights are read."""

    conv: Weights
    q_proj: Weights
    k_proj: Weights
    v_proj: Weights
    igate: Weights
    fgate: Weights


def local_mix(x, parameters, reverse):
    """The fused one, of a scan with these parameters."""
    weights = (*parameters[:8:2], *parameters[8].chunk(2))
    biases = (*parameters[1:8:2], *parameters[9].chunk(2))
    return mix.local_mix(Parts(*map(Weights, weights, biases)), x, reverse)


def plain(x, parameters, reverse):
    conv_weight, conv_bias, *projections, gate_weight, gate_bias = parameters
    conv = token_conv if conv_weight.dim() == 4 else causal_conv
    a = F.silu(conv(x.permute(0, 3, 1, 2), conv_weight, conv_bias, reverse).permute(0, 2, 3, 1))
    pairs = zip((a, a, x), projections[::2], projections[1::2], strict=True)
    q, k, v = (block_diagonal(*pair) for pair in pairs)
    return a, q, k, v, gate_product((q, k, v), gate_weight, gate_bias)


def run(packed, parameters, transposed=False, reverse=False, fused=True, cotangents=None):
    """Results, and gradients of the packed projection and all parameters."""
    packed = packed.detach().requires_grad_()
    parameters = [None if p is None else p.detach().requires_grad_() for p in parameters]
    x = packed[..., : packed.shape[-1] // 2]
    x = x.transpose(1, 2) if transposed else x
    out = (local_mix if fused else plain)(x, parameters, reverse)
    if cotangents is None:
        generator = torch.Generator().manual_seed(1)
        cotangents = [torch.randn(y.shape, generator=generator).to(y) for y in out]
    inputs = [packed, *(p for p in parameters if p is not None)]
    cotangents = [g.to(y.dtype) for g, y in zip(cotangents, out, strict=True)]
    return [*out, *torch.autograd.grad(out, inputs, cotangents)], cotangents


def double(tensors):
    return [None if x is None else x.double() for x in tensors]


def agree(packed, parameters, transposed=False, reverse=False):
    ours, cotangents = run(packed, parameters, transposed, reverse)
    exact, _ = run(
        packed.double(), double(parameters), transposed, reverse, False, double(cotangents)
    )
    for x, expected in zip(ours, exact, strict=True):
        assert error(x, expected) < TOLERANCE[packed.dtype]
    return ours


@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('transposed', [False, True], ids=['rows', 'columns'])
@pytest.mark.parametrize('taps', [9, 4], ids=['conv2d', 'causal'])
def test_directions(taps, transposed, reverse):
    agree(*make(taps=taps), transposed, reverse)


@pytest.mark.parametrize('grid', [(1, 1, 1), (3, 1, 4), (2, 5, 1), (1, 7, 7), (1, 14, 14)], ids=str)
@pytest.mark.parametrize('taps', [9, 4], ids=['conv2d', 'causal'])
def test_ragged_grids(grid, taps):
    agree(*make(grid, taps=taps), reverse=True)


def test_without_biases():
    agree(*make(bias=False))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype):
    agree(*make(channels=128, dtype=dtype), transposed=True)


def test_gates_of_half_precision_are_as_exact_as_the_plain_ones():
    packed, parameters = make((2, 4, 5), dtype=torch.bfloat16)
    exact = run(packed.double(), double(parameters), fused=False)[0][4]
    plain = run(packed, [p if p is None else p.bfloat16() for p in parameters], fused=False)[0][4]
    ours = run(packed, parameters)[0][4]
    assert error(ours, exact) <= 1.1 * error(plain, exact)


def test_gates_see_float32_weights():
    """x and a are exact in bfloat16 here, so that all that is left is the weights' rounding."""
    packed, parameters = make(dtype=torch.bfloat16)
    for p in parameters[:2]:
        p.zero_()  # a = 0
    exact = run(packed.double(), double(parameters), fused=False)[0][4]
    assert error(run(packed, parameters)[0][4], exact) < 2e-5


def test_many_programs_share_the_tokens(monkeypatch):
    monkeypatch.setattr(launches, 'steps_per_program', lambda *_: 2)
    agree(*make((3, 5, 7)))


@pytest.mark.parametrize('parts', [1, 2])
def test_programs_that_share_the_channels(monkeypatch, parts):
    monkeypatch.setattr(launches, '_gate_parts', lambda *_: parts)
    agree(*make(channels=128))


def test_results_lie_as_the_input_does():
    out = run(*make(), transposed=True)[0]
    for y in out[:4]:
        assert y.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize('which', range(5))
def test_unused_and_expanded_gradients(which):
    packed, parameters = make()
    gradients = []
    for mixing, x, rest in (
        (local_mix, packed, parameters),
        (plain, packed.double(), double(parameters)),
    ):
        x = x.requires_grad_()
        out = mixing(x[..., :64], rest, False)
        gradients += torch.autograd.grad(out[which].sum(), x)
    assert error(*gradients) < TIGHT


@pytest.mark.parametrize('taps', [9, 4], ids=['conv2d', 'causal'])
@pytest.mark.parametrize('transposed', [False, True], ids=['rows', 'columns'])
def test_memory_around_the_tensors(monkeypatch, taps, transposed):
    guards = Guards()
    monkeypatch.setattr(memory, 'empty', guards.empty)
    monkeypatch.setattr(launches, 'empty', guards.empty)
    packed, _ = make(taps=taps)
    with torch.no_grad():
        packed = guards.surround(packed)
        packed[..., 64:] = torch.nan  # the half that is not x's
        x = packed[..., :64].transpose(1, 2) if transposed else packed[..., :64]
        table, bias = guards.surround(torch.randn(taps + 32, 64)), guards.surround(torch.randn(8))
        out = launches.mix_forward(x, table, bias, True)
        gradients = [guards.surround(torch.randn(y.shape)) for y in out]
        launches.mix_backward(x, table, out[0], *gradients, True)
    assert len(guards.buffers) == 3 + 5 + 5 + 3
    guards.check()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_plain_form_of_the_op(monkeypatch, dtype):
    """What runs in place of the kernels on a CPU."""
    packed, parameters = make(dtype=dtype)
    monkeypatch.setattr(mix, 'unsupported_reason', lambda *tensors: 'told so')
    ours, cotangents = run(packed.cpu(), [p.cpu() for p in parameters], True, True)
    monkeypatch.undo()
    fused, _ = run(packed, parameters, True, True, True, [g.to(DEVICE) for g in cotangents])
    for x, y in zip(ours, fused, strict=True):
        assert x.stride() == y.stride()
        assert error(x, y.cpu()) < {torch.float32: TIGHT, torch.bfloat16: 2e-2}[dtype]


@pytest.mark.parametrize('transposed', [False, True], ids=['rows', 'columns'])
def test_the_op_keeps_the_rules(transposed):
    packed, _ = make((1, 2, 3))
    x = packed.transpose(1, 2) if transposed else packed
    table, bias = torch.randn(41, 64, device=DEVICE), torch.randn(8, device=DEVICE)
    leaves = (x[..., :64].detach().requires_grad_(), table.requires_grad_(), bias.requires_grad_())
    torch.library.opcheck(mix.mix_op, (*leaves, False))


def test_compiles_to_one_graph():
    packed, parameters = make()

    def step(x, p):
        return local_mix(x[..., :64], p, True)

    parameters = [p.requires_grad_() for p in parameters]
    eager = step(packed, parameters)
    compiled = torch.compile(step, fullgraph=True, backend='aot_eager')(packed, parameters)
    for x, y in zip(compiled, eager, strict=True):
        torch.testing.assert_close(x, y)
    ours, expected = (
        torch.autograd.grad(sum(y.square().sum() for y in out), parameters)
        for out in (compiled, eager)
    )
    torch.testing.assert_close(ours, expected)


def test_what_is_not_supported():
    packed, parameters = make(channels=32)
    with pytest.raises(ValueError, match='multiple of 64 channels'):
        run(packed, parameters)
    with pytest.raises(ValueError, match='too large'):
        memory.readable(torch.empty(1, 1 << 16, 1 << 16, 64, device='meta'))
