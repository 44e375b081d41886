"""The native scan against float64: outputs, gradients, every size, and the same for all threads."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from vil_mm.layers import Scan
from vil_mm.layers.traversal import COLUMNS, COLUMNS_BACK, ROWS, ROWS_BACK, Order

EPS_SCALE = 1e-4  # of q and k, so that b is of the size of eps
ORDERS = {'rows': ROWS, 'rows back': ROWS_BACK, 'columns': COLUMNS, 'columns back': COLUMNS_BACK}
# grid, order, images, channels, biases, standard deviation of the gates' biases and products
CASES = [
    ((1, 1), 'rows', 1, 64, True, 1),
    ((1, 1), 'columns back', 3, 128, False, 1),
    ((2, 1), 'rows back', 1, 64, True, 1),
    ((1, 37), 'rows', 1, 128, False, 5),
    ((37, 1), 'rows back', 3, 64, True, 5),
    ((7, 9), 'columns', 1, 384, True, 5),
    ((8, 8), 'rows', 3, 64, False, 15),
    ((5, 13), 'columns back', 1, 192, True, 15),
    ((14, 14), 'rows back', 1, 384, True, 0),
    ((14, 14), 'columns', 3, 64, True, 70),
    ((9, 37), 'rows', 1, 64, True, 30),
    ((37, 9), 'columns back', 1, 64, False, 70),
    ((32, 32), 'rows back', 1, 64, True, 70),
    ((32, 32), 'columns', 3, 64, False, 5),
    ((3, 30), 'rows', 1, 1536, True, 1),
    ((3, 30), 'rows back', 1, 2048, True, 1),
]
slow = pytest.mark.slow
EVERY = [
    pytest.param((rows, columns), order, images, 384, bias, std, marks=slow)
    for rows, columns in [(1, 1), (2, 1), (1, 37), (9, 7), (64, 1), (5, 13), (14, 14), (9, 37)]
    for order in ORDERS
    for images, bias, std in [(1, True, 2), (3, False, 70)]
]
EVERY += [
    pytest.param((32, 32), order, 1, 384, True, std, marks=slow)
    for order in ORDERS
    for std in (0, 70)
]


def make(channels: int, bias: bool, std: float) -> Scan:
    """A scan in which no parameter is zero or one and the gates have about this deviation."""
    torch.manual_seed(0)
    scan = Scan(channels, bias=bias)
    with torch.no_grad():
        for p in scan.parameters():
            p.add_(0.3 * torch.randn_like(p))
        for gate in (scan.igate, scan.fgate):
            gate.weight.normal_(std=0.02 + std / channels**0.5 / 2)
            gate.bias.add_(std * torch.randn_like(gate.bias) / 2)
    return scan


def inputs(grid: tuple[int, int], images: int, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """x and z as the projection leaves them, side by side; and the gradient of the result."""
    generator = torch.Generator().manual_seed(1)
    both = torch.randn(images, *grid, 2 * channels, generator=generator)
    dy = torch.randn(images, *grid, channels, generator=generator)
    return *both.chunk(2, dim=-1), dy


def results(scan: Scan, backend: str, order: Order, *tensors: Tensor) -> dict[str, Tensor]:
    """The output and all gradients."""
    scan = copy.deepcopy(scan).to(tensors[0].dtype)
    scan.mlstm_backend = backend
    x, z, dy = tensors
    x, z = x.detach().requires_grad_(), z.detach().requires_grad_()
    y = scan(x, z, order)
    y.backward(dy)
    gradients = {name: p.grad for name, p in scan.named_parameters()}
    with torch.inference_mode():
        again = scan(x, z, order)
    assert (
        again == y
    ).all() or backend != 'native'  # what is kept for the gradient changes nothing
    return {'y': y.detach(), 'x': x.grad, 'z': z.grad, **gradients}


def errors(got: dict[str, Tensor], want: dict[str, Tensor]) -> dict[str, float]:
    """Relative to each tensor's largest entry.

    The sum of the input gates' gradients nearly cancels, and one token reads no forget gate: these
    are compared with the larger of both.
    """
    largest = {name: x.abs().max() for name, x in want.items()}
    for kind in ('weight', 'bias'):
        names = [f'igate.{kind}', f'fgate.{kind}']
        largest |= dict.fromkeys(names, max(largest[name] for name in names))
    return {name: float((got[name] - x).abs().max() / largest[name]) for name, x in want.items()}


@pytest.mark.parametrize(('grid', 'order', 'images', 'channels', 'bias', 'std'), [*CASES, *EVERY])
def test_results_are_as_good_as_chunkwise(grid, order, images, channels, bias, std) -> None:
    scan, tensors = make(channels, bias, std), inputs(grid, images, channels)
    want = results(scan, 'parallel', ORDERS[order], *(x.double() for x in tensors))
    got = results(scan, 'native', ORDERS[order], *tensors)
    assert all(torch.isfinite(x).all() for x in got.values())
    limits = errors(results(scan, 'chunkwise', ORDERS[order], *tensors), want)
    # where |b| happens to be tiny, a token's error is a matter of luck in both
    found = errors(got, want)
    assert found.pop('y') <= 1e-5 + 10 * limits.pop('y')
    assert max(found.values()) <= 5e-5 + 10 * max(limits.values()), found


@pytest.mark.parametrize('order', ORDERS)
def test_threads_change_nothing(order: str) -> None:
    scan, tensors = make(128, True, 2), inputs((11, 13), 2, 128)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(results(scan, 'native', ORDERS[order], *tensors))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all((other[name] == x).all() for name, x in found[0].items())


def test_the_term_of_eps_is_kept() -> None:
    """Where |b| and exp(-m) are far below eps, its path through m reaches the gates."""
    scan, tensors = make(64, True, 2), inputs((5, 13), 1, 64)
    with torch.no_grad():
        scan.igate.bias.add_(40)
        for projection in (scan.q_proj, scan.k_proj):
            projection.weight.mul_(EPS_SCALE)
            projection.bias.mul_(EPS_SCALE)
    want = results(scan, 'parallel', ROWS, *(x.double() for x in tensors))
    got = results(scan, 'native', ROWS, *tensors)
    found = errors(got, want)
    assert max(found.values()) < 1e-4, found


def test_what_is_not_a_number_spreads() -> None:
    x, z, _ = inputs((5, 13), 1, 64)
    for parameter in ('igate.bias', 'fgate.bias', 'conv.bias', 'v_proj.bias', 'skip'):
        scan = make(64, True, 2)
        scan.mlstm_backend = 'native'
        with torch.no_grad():
            scan.get_parameter(parameter)[0] = float('nan')
            assert scan(x, z, ROWS).isnan().any(), parameter
