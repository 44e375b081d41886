"""When the native scan runs, and what happens where it cannot."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from vil_mm.layers import Scan
from vil_mm.layers.native import library
from vil_mm.layers.native import scan as dispatch
from vil_mm.layers.traversal import COLUMNS_BACK, ROWS, ROWS_BACK
from vil_mm.models import VisionLSTM


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of the library."""
    made, call = [], library.call

    def record(name: str, arguments: library.Arguments) -> None:
        made.append(name)
        call(name, arguments)

    monkeypatch.setattr(library, 'call', record)
    return made


def make(channels: int = 64, backend: str = 'auto', **options) -> Scan:
    torch.manual_seed(0)
    scan = Scan(channels, mlstm_backend=backend, **options)
    with torch.no_grad():
        for p in scan.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return scan


def inputs(channels: int = 64) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 3, 5, 2 * channels, generator=torch.manual_seed(1)).chunk(2, -1)


def plainly(scan: Scan, x: Tensor, z: Tensor, order=ROWS) -> Tensor:
    twin = copy.deepcopy(scan)
    twin.mlstm_backend = 'chunkwise'
    return twin(x, z, order)


@pytest.mark.parametrize('backend', ['auto', 'native'])
def test_runs_on_a_cpu(backend: str, calls: list[str]) -> None:
    scan, (x, z) = make(backend=backend), inputs()
    with torch.no_grad():
        got = scan(x, z, COLUMNS_BACK)
    assert calls == ['forward']
    torch.testing.assert_close(got, plainly(scan, x, z, COLUMNS_BACK))
    scan(x, z, ROWS).sum().backward()
    assert calls == ['forward', 'forward', 'backward']


WEIGHT_CHANGES = {
    'data': lambda p: p.data.mul_(2),
    'new data': lambda p: setattr(p, 'data', 2 * p.data),
    'in place': lambda p: p.mul_(2),
}


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize('change', WEIGHT_CHANGES)
def test_a_changed_weight_is_seen(change: str, mode, calls: list[str]) -> None:
    scan, (x, z) = make(), inputs()
    with mode():
        scan(x, z, ROWS)
        for name, p in scan.named_parameters():
            before = scan(x, z, ROWS)
            with torch.no_grad():
                WEIGHT_CHANGES[change](p)
            assert not torch.equal(scan(x, z, ROWS), before), name
        torch.testing.assert_close(scan(x, z, ROWS), plainly(scan, x, z))
        other = make()
        other.load_state_dict(scan.state_dict())
        assert torch.equal(other(x, z, ROWS), scan(x, z, ROWS))
    assert calls


def autocast(scan: Scan, x: Tensor, z: Tensor) -> Tensor:
    with torch.autocast('cpu', torch.bfloat16):
        return scan(x, z, ROWS)


def traced(scan: Scan, x: Tensor, z: Tensor) -> Tensor:
    scan.requires_grad_(False)
    # its own check would run the scan outside of the trace
    return torch.jit.trace(lambda x, z: scan(x, z, ROWS), (x, z), check_trace=False)(x, z)


def hooked(scan: Scan, x: Tensor, z: Tensor) -> Tensor:
    scan.head_norm.register_forward_hook(lambda *_: None)
    return scan(x, z, ROWS)


def normed(scan: Scan, x: Tensor, z: Tensor) -> Tensor:
    parametrizations.weight_norm(scan.q_proj)
    return scan(x, z, ROWS)


PLAIN = {
    'autocast': autocast,
    'a hook': hooked,
    'a parametrization': normed,
    'vmap': lambda s, x, z: torch.vmap(lambda x, z: s(x, z, ROWS))(x[None], z[None])[0],
    'vjp': lambda s, x, z: torch.func.vjp(lambda x: s(x, z, ROWS), x)[0],
    'trace': traced,
    'compile': lambda s, x, z: torch.compile(lambda x, z: s(x, z, ROWS), backend='eager')(x, z),
    'an empty batch': lambda s, x, z: torch.cat([s(x[:0], z[:0], ROWS), plainly(s, x, z)]),
}


@pytest.mark.parametrize('case', PLAIN)
@pytest.mark.parametrize('backend', ['auto', 'native'])
def test_plain_pytorch_runs(case: str, backend: str, calls: list[str]) -> None:
    scan, (x, z) = make(backend=backend), inputs()
    want = plainly(scan, x, z)
    got = PLAIN[case](scan, x, z)
    assert not calls
    close = {'rtol': 0.5, 'atol': 0.5} if case == 'autocast' else {}
    torch.testing.assert_close(got.float(), want, **close)


def test_forward_mode_runs_in_plain_pytorch(calls: list[str]) -> None:
    scan, (x, z) = make(), inputs()
    value, derivative = torch.func.jvp(lambda x: scan(x, z, ROWS), (x,), (torch.ones_like(x),))
    torch.testing.assert_close(value, plainly(scan, x, z))
    assert torch.isfinite(derivative).all() and not calls


def test_second_derivatives() -> None:
    scan, (x, z) = make(), inputs()

    def second(backend: str) -> list[Tensor]:
        scan.mlstm_backend = backend
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(
            scan(leaf, z, ROWS_BACK).sin().sum(), leaf, create_graph=True
        )
        return list(torch.autograd.grad(first.square().sum(), [leaf, *scan.parameters()]))

    for got, want in zip(second('native'), second('parallel'), strict=True):
        assert (got - want).abs().max() <= 2e-4 * want.abs().max()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, calls: list[str]) -> None:
    scan, (x, z) = make().to(dtype), (y.to(dtype) for y in inputs())
    with torch.no_grad():
        got = scan(x, z, ROWS)
    assert calls == ['forward'] and got.dtype == dtype
    exact = plainly(scan.double(), x.double(), z.double())
    assert (got - exact).abs().max() <= 2 * torch.finfo(dtype).eps * exact.abs().max()


def test_frozen_weights_get_no_gradient() -> None:
    scan, (x, z) = make(), inputs()
    scan.requires_grad_(False)
    scan.skip.requires_grad_()
    scan(x, z, ROWS).sum().backward()
    assert scan.skip.grad is not None and scan.conv.weight.grad is None


def test_strided_inputs() -> None:
    scan, (x, z) = make(), inputs()
    want = scan(x, z, ROWS)
    for layout in (
        lambda y: y.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0),
        lambda y: y.flip(1).contiguous().flip(1),
        lambda y: y.contiguous(),
    ):
        assert torch.equal(scan(layout(x), layout(z), ROWS), want)


def refuse(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    monkeypatch.setattr(library, 'load', lambda: library.Loaded(None, '', reason))


CANNOT = {
    'float64': (lambda: make(backend='native').double(), 'in float32, not in torch.float64'),
    'narrow heads': (lambda: make(32, 'native'), 'multiple of 16 channels up to 512, not 8'),
    'wide heads': (lambda: make(2112, 'native'), 'multiple of 16 channels up to 512, not 528'),
    'version 1': (lambda: make(backend='native', conv='causal_conv1d'), 'set version=2'),
}


@pytest.mark.parametrize('case', CANNOT)
def test_native_demands_it(case: str) -> None:
    build, line = CANNOT[case]
    scan = build()
    x, z = (y.to(scan.skip.dtype) for y in inputs(scan.skip.numel()))
    with pytest.raises(ValueError, match=line):
        scan(x, z, ROWS)
    scan.mlstm_backend = 'auto'
    torch.testing.assert_close(scan(x, z, ROWS), plainly(scan, x, z))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, 'it is not built: run this')
    scan, (x, z) = make(), inputs()
    torch.testing.assert_close(scan(x, z, ROWS), plainly(scan, x, z))
    scan.mlstm_backend = 'native'
    with pytest.raises(ValueError, match='cannot run: it is not built: run this'):
        scan(x, z, ROWS)


def test_the_environment_variable_switches_it_off(monkeypatch, calls: list[str]) -> None:
    monkeypatch.setattr(dispatch, 'DISABLED', True)
    scan, (x, z) = make(), inputs()
    torch.testing.assert_close(scan(x, z, ROWS), plainly(scan, x, z))
    assert not calls


def test_shapes_need_no_library(calls: list[str]) -> None:
    scan = make(backend='native').to('meta')
    x, z = (y.to('meta') for y in inputs())
    assert scan(x, z, ROWS).shape == x.shape and not calls


@pytest.mark.parametrize('traversal', ['alternating', 'quad', 'bidirectional_shared'])
def test_a_whole_network(traversal: str, calls: list[str]) -> None:
    torch.manual_seed(0)
    options = {'arch': {'embed_dims': 32, 'num_layers': 4}, 'img_size': 32, 'patch_size': 8}
    model = VisionLSTM(**options, traversal=traversal)
    image = torch.randn(2, 3, 24, 40)

    def gradients(backend: str) -> list[Tensor]:
        for scan in [x for x in model.modules() if isinstance(x, Scan)]:
            scan.mlstm_backend = backend
        out = model(image)[0]
        return [out, *torch.autograd.grad(out.sin().sum(), list(model.parameters()))]

    for got, want in zip(gradients('native'), gradients('chunkwise'), strict=True):
        assert (got - want).abs().max() <= 1e-4 * want.abs().max() + 1e-6
    assert calls.count('forward') == calls.count('backward') > 0
    model.eval()
    with torch.inference_mode():
        nn.Module.float(model)(image)
