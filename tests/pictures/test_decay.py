"""What the forget gates keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vil_mm.layers.traversal import COLUMNS, COLUMNS_BACK, ROWS, ROWS_BACK
from vil_mm.models import VisionLSTM
from vil_mm.pictures.decay import (
    ScanGates,
    default_layers,
    draw_decay,
    half_life,
    read_gates,
    survival,
    survival_map,
)
from vil_mm.pictures.samples import Sample


def build(**options) -> VisionLSTM:
    torch.manual_seed(0)
    arch = {'embed_dims': 16, 'num_layers': 4}
    options = {'arch': arch, 'img_size': 32, 'patch_size': 8} | options
    model = VisionLSTM(**options).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def image() -> torch.Tensor:
    return torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))


def test_survival_is_the_product_of_the_gates_in_between() -> None:
    gates = torch.tensor([0.3, 0.5, 0.8, 0.25])
    left = survival(gates.log(), at=3)
    assert left.tolist() == pytest.approx([0.5 * 0.8 * 0.25, 0.8 * 0.25, 0.25, 1.0])
    assert survival(gates.log(), at=1).tolist() == pytest.approx([0.5, 1.0, 0.0, 0.0])


def test_half_life_of_a_constant_gate() -> None:
    log_forget = torch.full((2, 50), math.log(0.9))
    log_forget[:, 0] = -100.0  # decays nothing
    lives = half_life(log_forget)
    assert lives.tolist() == pytest.approx([math.log(0.5) / math.log(0.9)] * 2)
    assert survival(log_forget[0], at=49)[49 - round(float(lives[0]))] == pytest.approx(0.5, 0.05)


@pytest.mark.parametrize('order', [ROWS, ROWS_BACK, COLUMNS, COLUMNS_BACK])
def test_maps_follow_the_order_of_the_scan(order) -> None:
    height, width = 3, 4
    path = [(y, x) for y in range(height) for x in range(width)]
    if order.columns:
        path = [(y, x) for x in range(width) for y in range(height)]
    if order.reverse:
        path = path[::-1]
    gates = torch.rand(2, 12, generator=torch.Generator().manual_seed(0)).double()
    scan = ScanGates(0, order, (height, width), gates.log())
    for token in (None, (1, 2)):
        left = survival_map(scan, token)
        end = 11 if token is None else path.index(token)
        for time, (y, x) in enumerate(path):
            expected = gates[:, time + 1 : end + 1].prod(-1) if time <= end else torch.zeros(2)
            assert left[:, y, x].tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    'options',
    [{}, {'version': 1}, {'traversal': 'alternating_quad'}, {'traversal': 'bidirectional_shared'}],
    ids=['v2', 'v1', 'quad', 'shared'],
)
def test_gates_are_those_that_the_cell_reads(options: dict, monkeypatch) -> None:
    from vil_mm.layers import scan

    model, seen, cell = build(**options), [], scan.mlstm

    def spy(q, k, v, igate, fgate, **kwargs):
        seen.append((fgate, kwargs['reverse']))
        return cell(q, k, v, igate, fgate, **kwargs)

    monkeypatch.setattr(scan, 'mlstm', spy)
    found = read_gates(model, image())
    assert len(found) == len(seen)
    for gates, (forget, reverse) in zip(found, seen, strict=True):
        expected = F.logsigmoid(forget[0].double()).flatten(0, 1).T
        expected = expected.flip(-1) if reverse else expected
        assert gates.order.reverse == reverse and gates.log_forget.shape == (4, 12)
        torch.testing.assert_close(gates.log_forget, expected)
    assert [x.layer for x in found] == sorted(x.layer for x in found)


def test_a_token_outside_the_grid() -> None:
    scan = ScanGates(0, ROWS, (3, 4), torch.zeros(4, 12))
    with pytest.raises(
        ValueError, match=r'token=\(3, 0\): is outside the grid of 3 rows and 4 col'
    ):
        survival_map(scan, (3, 0))


def test_default_layers() -> None:
    scans = [ScanGates(i, ROWS, (1, 1), torch.zeros(4, 1)) for i in range(24)]
    assert default_layers(scans) == [0, 1, 10, 11, 22, 23]
    assert default_layers(scans[:1]) == [0]


def test_figure_shows_the_maps() -> None:
    gates = read_gates(build(), image())
    sample = Sample('a.png', image(), np.ones((24, 32, 3)))
    figure = draw_decay(gates, sample, 'a title', token=(1, 1))
    shown = {ax.get_title().split()[1]: ax for ax in figure.axes if 'layer' in ax.get_title()}
    assert list(shown) == ['1', '2', '3', '4']
    drawn = np.asarray(shown['2'].images[0].get_array())
    assert np.allclose(drawn, survival_map(gates[1], (1, 1))[0])
