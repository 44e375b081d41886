"""A whole layer by fused kernels against the plain one, interpreted where there is no GPU."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from kernel_guards import error
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip('triton')

from vil_mm.layers import ViLLayer
from vil_mm.layers.fused import launches as layer_launches
from vil_mm.layers.traversal import COLUMNS, COLUMNS_BACK, ROWS, ROWS_BACK, Order
from vil_mm.mlstm.triton import launches
from vil_mm.mlstm.triton.runtime import INTERPRETED, recorded

pytestmark = pytest.mark.skipif(
    not (INTERPRETED or torch.cuda.is_available()), reason='needs CUDA or TRITON_INTERPRET=1'
)
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
GRID = (5, 7)
# Relative errors against float64. The gates have the largest: their gradients are sums over all
# tokens that nearly cancel. A GPU makes a product of float32 of three of tf32, and its exp2 and
# division are not rounded exactly.
FLOAT32, OF_GATES = (1e-5, 1e-4) if DEVICE == 'cuda' else (2e-6, 1e-5)
BFLOAT16 = 0.15

ORDERS = {'rows': ROWS, 'rows back': ROWS_BACK, 'columns': COLUMNS, 'columns back': COLUMNS_BACK}
QUICK = {
    ('rows', 'conv2d', True),
    ('rows back', 'causal_conv1d', False),
    ('columns', 'causal_conv1d', True),
    ('columns back', 'conv2d', False),
}
ALL = list(itertools.product(ORDERS, ('conv2d', 'causal_conv1d'), (True, False)))


def cases(quick: set[tuple[str, str, bool]]) -> list:
    """All kinds of layers; those that are not quick are for `make test-slow`."""
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.slow) for case in ALL]


def make(order: Order, conv: str = 'conv2d', bias: bool = True, **options) -> ViLLayer:
    """A plain layer in which no parameter is zero or one."""
    torch.manual_seed(0)
    layer = ViLLayer(32, (order,), conv=conv, bias=bias, mlstm_backend='parallel', **options)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return layer.to(DEVICE)


def fused(layer: ViLLayer) -> ViLLayer:
    layer = copy.deepcopy(layer)
    layer.scans[0].mlstm_backend = 'triton'
    return layer


def run(layer: ViLLayer, x: Tensor, autocast: bool = False) -> dict[str, Tensor]:
    """The output, and gradients of the input and of every parameter, by name."""
    x = x.detach().requires_grad_()
    with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        y = layer(x, GRID)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], dy)
    names = ['y', 'x', *(name for name, _ in layer.named_parameters())]
    return dict(zip(names, [y, *gradients], strict=True))


def errors(layer: ViLLayer, x: Tensor, autocast: bool = False) -> dict[str, float]:
    """Of what :func:`run` gives, against the plain layer in float64."""
    plain = copy.deepcopy(layer).double()
    plain.scans[0].mlstm_backend = 'parallel'
    exact, ours = run(plain, x.double()), run(layer, x, autocast)
    assert ours['y'].dtype == x.dtype
    return {name: error(ours[name], exact[name]) for name in exact}


def assert_float32(found: dict[str, float]) -> None:
    for name, value in found.items():
        assert value < (OF_GATES if 'gate.' in name else FLOAT32), (name, value)


@pytest.mark.parametrize(('order', 'conv', 'bias'), cases(QUICK))
def test_float32(order: str, conv: str, bias: bool) -> None:
    layer = make(ORDERS[order], conv, bias)
    assert_float32(errors(fused(layer), torch.randn(1, 35, 32, device=DEVICE)))


@pytest.mark.parametrize(('order', 'conv', 'bias'), cases({('columns back', 'conv2d', True)}))
def test_autocast_is_as_exact_as_that_of_the_plain_layer(order: str, conv: str, bias: bool) -> None:
    layer = make(ORDERS[order], conv, bias)
    x = torch.randn(1, 35, 32, device=DEVICE).bfloat16()
    ours, plain = errors(fused(layer), x, True), errors(layer, x, True)
    assert max(ours.values()) < BFLOAT16
    for values in (ours, plain):
        values['mean'] = sum(values.values()) / len(values)
    assert ours['mean'] < 1.5 * plain['mean']


class Record(TorchDispatchMode):
    """Lists the operators that make maps of 5 x 7 tokens; what is a view is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        results = operator(*args, **(kwargs or {}))
        made = results if isinstance(results, tuple | list) else [results]
        shapes = [x.shape for x in made if isinstance(x, Tensor)]
        is_map = any({5, 7} <= {*s} or any(n % 35 == 0 for n in s) for s in shapes)
        if is_map and not operator.is_view:
            self.made.append(str(operator).removesuffix('.default'))
        return results


def forbid_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where an operator copies a tensor before its kernel reads it."""
    places = ((layer_launches, 'readable'), (layer_launches, 'readable_as'), (launches, 'readable'))
    for module, name in places:
        original = getattr(module, name)

        def checked(x: Tensor, *like: Tensor, original=original, name=name) -> Tensor:
            y = original(x, *like)
            assert y is x, f'{name} copies {tuple(x.shape)} of strides {x.stride()}'
            return y

        monkeypatch.setattr(module, name, checked)


@pytest.mark.parametrize('images', [1, 2])
@pytest.mark.parametrize('order', ORDERS)
def test_nothing_is_copied(order: str, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_copies(monkeypatch)
    layer = fused(make(ORDERS[order]))
    x = torch.randn(images, 35, 32, device=DEVICE, requires_grad=True)
    with recorded():  # kernels need not run
        with Record() as forward:
            y = layer(x, GRID)
        dy = torch.ones_like(y)
        with Record() as backward:
            y.backward(dy)
    assert forward.made == [
        'aten.native_layer_norm',
        'aten.addmm',
        'vil_mm.local_mix',
        'vil_mm.mlstm',
        'vil_mm.norm_skip_gate',
        'aten.addmm',
        'aten.add.Tensor',
    ]
    assert backward.made == [
        'aten.mm',
        'vil_mm.norm_skip_gate_backward',
        'vil_mm.mlstm_backward',
        'aten.cat',  # of the gates
        'vil_mm.local_mix_backward',
        'aten.cat',  # of both halves of the projection
        'aten.mm',
        'aten.native_layer_norm_backward',
        'aten.add.Tensor',
    ]


@pytest.mark.slow
def test_images_that_skip_the_layer() -> None:
    torch.manual_seed(0)
    layer = make(COLUMNS, drop_path_rate=0.5).train()
    x = torch.randn(2, 35, 32, device=DEVICE)
    results = []
    for twin in (layer, fused(layer)):
        torch.manual_seed(3)
        results.append(run(twin, x))
    plain, ours = results
    skipped = (ours['y'] == x).flatten(1).all(1)
    assert skipped.sum() == 1
    assert_float32({name: error(ours[name], plain[name]) for name in plain})


@pytest.mark.slow
def test_orders_of_one_layer_with_shared_weights() -> None:
    torch.manual_seed(0)
    options = {'orders': (ROWS, COLUMNS_BACK), 'shared': True}
    layer = ViLLayer(32, mlstm_backend='triton', **options).to(DEVICE)
    assert_float32(errors(layer, torch.randn(1, 35, 32, device=DEVICE)))


def test_widths_that_kernels_do_not_take_are_named() -> None:
    layer = ViLLayer(16, mlstm_backend='triton').to(DEVICE)
    with pytest.raises(ValueError, match='heads of a multiple of 16 channels, got 8'):
        layer(torch.randn(1, 35, 16, device=DEVICE), GRID)
