"""All forms against each other, against golden numbers, and in every setting they must work in."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vil_mm.mlstm import empty_state, mlstm, mlstm_step

NAMES = ('q', 'k', 'v', 'igate', 'fgate')
NEAR = {'rtol': 0.0, 'atol': 1e-5}


def make_inputs(
    shape: tuple[int, ...], dtype=torch.float64, i_scale=5.0, f_scale=4.0, seed=0
) -> list[Tensor]:
    """q, k, v of ``shape`` and wide gates, which reach both branches of the normaliser."""
    g = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=g, dtype=torch.float64).to(dtype)

    gates = [i_scale * normal(*shape[:-1]), 2 + f_scale * normal(*shape[:-1])]
    return [x.requires_grad_() for x in [*(normal(*shape) for _ in range(3)), *gates]]


def output_and_gradients(inputs: list[Tensor], **options) -> dict[str, Tensor]:
    h = mlstm(*inputs, **options)
    g = torch.Generator().manual_seed(1)
    cotangent = torch.randn(h.shape, generator=g, dtype=torch.float64).to(h.dtype)
    gradients = torch.autograd.grad((h * cotangent).sum(), inputs)
    return {'h': h.detach(), **dict(zip(NAMES, gradients, strict=True))}


def assert_close(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Relative to each tensor's largest entry (1e-3 at least: a first forget gate's is zero)."""
    for name, want in expected.items():
        error = (got[name].double() - want.double()).abs().max()
        scale = want.double().abs().max().clamp(min=1e-3)
        assert error / scale < tolerance, f'{name}: {error / scale:.1e}'


@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('length', [1, 2, 37, 63, 64, 65, 196, 333])
def test_forms_agree_in_float64(length: int, reverse: bool) -> None:
    inputs = make_inputs((2, length, 4, 12), seed=length)
    expected = output_and_gradients(inputs, backend='parallel', reverse=reverse)
    for options in (
        {'backend': 'recurrent'},
        {'backend': 'chunkwise', 'chunk_size': 64},
        {'backend': 'chunkwise', 'chunk_size': 7},
        {'backend': 'auto'},
    ):
        assert_close(output_and_gradients(inputs, reverse=reverse, **options), expected, 1e-9)


@pytest.mark.parametrize('chunk_size', [1, 5, 64, 1000])
def test_any_chunk_size(chunk_size: int) -> None:
    inputs = make_inputs((1, 50, 2, 8))
    expected = output_and_gradients(inputs, backend='parallel')
    got = output_and_gradients(inputs, backend='chunkwise', chunk_size=chunk_size)
    assert_close(got, expected, 1e-9)


@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_long_sequences_split_by_head_agree(reverse: bool) -> None:
    inputs = make_inputs((2, 1030, 2, 8))
    expected = output_and_gradients(inputs, backend='parallel', reverse=reverse)
    got = output_and_gradients(inputs, backend='chunkwise', reverse=reverse)
    assert_close(got, expected, 1e-9)


@pytest.mark.parametrize('backend', ['parallel', 'recurrent', 'chunkwise'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_golden_cell(backend: str, dtype: torch.dtype, golden) -> None:
    stored = load_file(golden / 'e_mlstm_cell_2x4x37x12.safetensors')
    q, k, v = (stored[name].transpose(1, 2).to(dtype).requires_grad_() for name in 'qkv')
    i, f = (stored[name][..., 0].mT.to(dtype).requires_grad_() for name in 'if')
    h = mlstm(q, k, v, i, f, backend=backend, chunk_size=16)
    loss = (h * stored['cotangent'].transpose(1, 2)).sum()
    gradients = dict(zip('qkvif', torch.autograd.grad(loss, (q, k, v, i, f)), strict=True))
    for name in 'qkv':
        gradients[name] = gradients[name].transpose(1, 2)
    for name in 'if':
        gradients[name] = gradients[name].mT.unsqueeze(-1)
    tolerance_h, tolerance = (1e-4, 5e-4) if dtype == torch.float32 else (1e-6, 1e-6)
    assert_close({'h': h.transpose(1, 2)}, {'h': stored['out.h']}, tolerance_h)
    assert_close(gradients, {name: stored[f'grad.{name}'] for name in 'qkvif'}, tolerance)


def test_reverse_is_the_flipped_sequence() -> None:
    inputs = make_inputs((2, 21, 2, 4))
    flipped = mlstm(*(x.flip(1) for x in inputs), backend='parallel').flip(1)
    torch.testing.assert_close(mlstm(*inputs, backend='chunkwise', reverse=True), flipped)


def test_first_forget_gate_and_later_tokens_have_no_influence() -> None:
    inputs = make_inputs((1, 9, 2, 4))
    h = mlstm(*inputs, backend='chunkwise', chunk_size=4)
    gradients = torch.autograd.grad(h[:, 3].sum(), inputs)
    assert gradients[4][:, 0].abs().max() < 1e-12
    assert all(g[:, 4:].abs().max() == 0 for g in gradients)
    assert gradients[2][:, :4].abs().min() > 0


def at_the_floor(b: float, dtype: torch.dtype, length: int = 3) -> list[Tensor]:
    """Inputs of ``DH = 16`` whose normaliser is max(|b|, 1), exactly, at every token."""
    q, k = torch.zeros(2, 1, length, 1, 16, dtype=dtype)
    q[..., 0], k[..., 0] = b, 4.0
    v = torch.arange(1.0, 17.0, dtype=dtype).expand_as(q)
    igate = torch.full((1, length, 1), -1000.0, dtype=dtype)
    igate[:, 0] = 0.0  # only the first token is read; a forget gate of 200 is exactly 1
    gates = igate, torch.full_like(igate, 200.0)
    return [x.clone().requires_grad_() for x in (q, k, v, *gates)]


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('backend', ['parallel', 'recurrent', 'chunkwise'])
def test_a_normaliser_exactly_at_its_floor(backend: str, dtype: torch.dtype) -> None:
    """h = b v / max(|b|, 1): by b it is v below the floor, 0 above it and v / 2 at equality."""
    for b, expected in ((0.5, 2.0), (1.0, 1.0), (-1.0, 1.0), (1.0 + 1e-6, 0.0), (1.0 - 1e-6, 2.0)):
        inputs = at_the_floor(b, dtype)
        h = mlstm(*inputs, backend=backend, chunk_size=2)
        dq, dk, *_ = torch.autograd.grad(h[..., 1].sum(), inputs)
        torch.testing.assert_close(dq[0, :, 0, 0], dq.new_full((3,), expected), **NEAR)
        torch.testing.assert_close(dk[0, 0, 0, 0], dk.new_tensor(3 * expected * b / 4), **NEAR)


@pytest.mark.parametrize('backend', ['parallel', 'chunkwise'])
def test_extreme_gates_stay_finite_and_right(backend: str) -> None:
    for i_scale, f_scale in ((60.0, 50.0), (0.0, 50.0), (120.0, 1.0)):
        inputs = make_inputs((1, 100, 2, 4), torch.float32, i_scale, f_scale)
        got = output_and_gradients(inputs, backend=backend, chunk_size=32)
        assert all(x.isfinite().all() for x in got.values())
        exact = output_and_gradients(make_inputs((1, 100, 2, 4), i_scale=i_scale, f_scale=f_scale))
        torch.testing.assert_close(got['h'].double(), exact['h'], atol=2e-3, rtol=2e-2)


def test_chunkwise_is_as_exact_in_float32_as_the_definition() -> None:
    shape = (1, 700, 4, 32)
    exact = output_and_gradients(make_inputs(shape), backend='parallel')

    def error(**options) -> float:
        got = output_and_gradients(make_inputs(shape, torch.float32), **options)
        return max(((got[n] - exact[n]).norm() / exact[n].norm()).item() for n in exact)

    assert error(backend='chunkwise') < 1.5 * error(backend='parallel') + 1e-6


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('backend', ['parallel', 'recurrent', 'chunkwise'])
def test_half_precision_is_computed_in_float32(backend: str, dtype: torch.dtype) -> None:
    inputs = [x.detach() for x in make_inputs((2, 40, 2, 8), dtype, i_scale=1.0, f_scale=1.0)]
    exact = mlstm(*(x.double() for x in inputs), backend='parallel')
    h = mlstm(*inputs, backend=backend, chunk_size=16)
    assert h.dtype == dtype
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(h.double(), exact, rtol=rounding, atol=1e-5)


@pytest.mark.parametrize('backend', ['parallel', 'chunkwise'])
def test_autocast_changes_nothing(backend: str) -> None:
    inputs = [x.detach() for x in make_inputs((1, 40, 2, 8), torch.float32)]
    with torch.autocast('cpu', torch.bfloat16):
        inside = mlstm(*inputs, backend=backend)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, mlstm(*inputs, backend=backend))


def test_chunkwise_backward_inside_autocast_stays_in_float32() -> None:
    inputs = make_inputs((1, 40, 2, 8), torch.float32)
    expected = output_and_gradients(inputs, backend='chunkwise')
    with torch.autocast('cpu', torch.bfloat16):
        got = output_and_gradients(inputs, backend='chunkwise')
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.parametrize('lifted', [(3, 4), (3,), (4,)], ids=['both', 'input', 'forget'])
def test_float64_gates_lift_float32_inputs(lifted: tuple[int, ...]) -> None:
    inputs = [x.detach() for x in make_inputs((1, 30, 2, 8), torch.float32)]
    mixed = [x.double() if n in lifted else x for n, x in enumerate(inputs)]
    h = mlstm(*mixed, backend='chunkwise')
    exact = mlstm(*(x.double() for x in inputs), backend='parallel').float()
    assert h.dtype == torch.float32
    torch.testing.assert_close(h, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('backend', ['parallel', 'recurrent', 'chunkwise'])
def test_gradcheck(backend: str) -> None:
    inputs = make_inputs((1, 5, 2, 2), i_scale=1.0, f_scale=1.0)  # a chunk and a part of one

    def run(*x: Tensor) -> Tensor:
        return mlstm(*x, backend=backend, chunk_size=3, reverse=True)

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize('backend', ['parallel', 'recurrent', 'chunkwise'])
def test_per_sample_gradients_by_torch_func(backend: str) -> None:
    inputs = [x.detach() for x in make_inputs((3, 10, 2, 4))]

    def loss(*sample: Tensor) -> Tensor:
        h = mlstm(*(x.unsqueeze(0) for x in sample), backend=backend, chunk_size=4)
        return h.square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss, argnums=tuple(range(5))))(*inputs)
    for n in range(3):
        alone = torch.func.grad(loss, argnums=tuple(range(5)))(*(x[n] for x in inputs))
        for got, expected in zip(per_sample, alone, strict=True):
            torch.testing.assert_close(got[n], expected)


@pytest.mark.parametrize('backend', ['parallel', 'chunkwise'])
def test_compiles_to_one_graph(backend: str) -> None:
    inputs = make_inputs((1, 20, 2, 4), torch.float32, 1.0, 1.0)

    def run(*x: Tensor) -> Tensor:
        return mlstm(*x, backend=backend, chunk_size=8, reverse=True)

    eager = run(*inputs)
    compiled = torch.compile(run, fullgraph=True, backend='aot_eager')(*inputs)
    torch.testing.assert_close(compiled, eager)
    expected = torch.autograd.grad(eager.sum(), inputs)
    for got, want in zip(torch.autograd.grad(compiled.sum(), inputs), expected, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.slow
def test_compiles_with_inductor() -> None:
    inputs = make_inputs((1, 200, 2, 16), torch.float32, 1.0, 1.0)
    compiled = torch.compile(mlstm, fullgraph=True)
    torch.testing.assert_close(
        compiled(*inputs, backend='chunkwise'), mlstm(*inputs), rtol=1e-4, atol=1e-5
    )


def test_two_sequence_axes_scan_a_grid_by_rows_or_columns() -> None:
    grid = [x.detach() for x in make_inputs((2, 3, 5, 2, 4))]
    rows = mlstm(*grid)
    torch.testing.assert_close(rows, mlstm(*(x.flatten(1, 2) for x in grid)).unflatten(1, (3, 5)))
    columns = mlstm(*(x.transpose(1, 2) for x in grid)).transpose(1, 2)
    by_hand = mlstm(*(x.transpose(1, 2).flatten(1, 2) for x in grid)).unflatten(1, (5, 3))
    torch.testing.assert_close(columns, by_hand.transpose(1, 2))
    assert not torch.allclose(rows, columns)


@pytest.mark.parametrize('backend', ['parallel', 'recurrent', 'chunkwise'])
def test_shapes_can_be_traced_on_the_meta_device(backend: str) -> None:
    inputs = [x.detach().to('meta').requires_grad_() for x in make_inputs((2, 20, 2, 4))]
    h = mlstm(*inputs, backend=backend, chunk_size=8)
    h.sum().backward()
    assert h.shape == inputs[0].shape
    assert all(x.grad.shape == x.shape for x in inputs)


def test_strided_views_give_the_same() -> None:
    packed = torch.randn(2, 30, 3, 2, 8, dtype=torch.float64)
    views = list(packed.unbind(2))
    gates = [torch.randn(2, 2, 30, dtype=torch.float64).mT for _ in range(2)]
    for backend in ('parallel', 'chunkwise', 'recurrent'):
        h = mlstm(*views, *gates, backend=backend)
        torch.testing.assert_close(h, mlstm(*(x.contiguous() for x in (*views, *gates))))


def test_streaming_token_by_token() -> None:
    q, k, v, i, f = (x.detach() for x in make_inputs((2, 12, 2, 4)))
    state, steps = empty_state(k.transpose(1, 2)), []
    for t in range(12):
        h, state = mlstm_step(state, q[:, t], k[:, t], v[:, t], i[:, t], f[:, t])
        steps.append(h)
    torch.testing.assert_close(torch.stack(steps, dim=1), mlstm(q, k, v, i, f))


@pytest.mark.parametrize(
    ('change', 'error', 'words'),
    [
        ({'backend': 'fastest'}, ValueError, "'fastest'.*choose one of"),
        ({'chunk_size': 0}, ValueError, 'at least 1'),
        ({'q': torch.zeros(2, 5, 8)}, ValueError, r'\(2, 5, 8\)'),
        ({'q': torch.zeros(2, 0, 2, 4)}, ValueError, 'at least one token'),
        ({'k': torch.zeros(2, 5, 2, 3)}, ValueError, 'one shape'),
        ({'igate': torch.zeros(2, 5)}, ValueError, r'expects gates of shape \(2, 5, 2\)'),
        ({'v': torch.zeros(2, 5, 2, 4).half()}, TypeError, 'one floating dtype'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_input_is_named(change: dict, error: type[Exception], words: str) -> None:
    inputs = {name: torch.zeros(2, 5, 2, 4) for name in ('q', 'k', 'v')}
    inputs.update(igate=torch.zeros(2, 5, 2), fgate=torch.zeros(2, 5, 2))
    inputs.update(change)
    with pytest.raises(error, match=words):
        mlstm(**inputs)
