"""Modules are watched, and left as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vil_mm.pictures.captured import captured


def test_calls_in_their_order() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    x = torch.randn(3)
    with captured([model[1], model[0]], lambda module, inputs, output: output) as found:
        out = model(x)
        model(x)
    assert [place for place, _ in found] == [1, 0, 1, 0]
    assert torch.equal(found[0][1], x.relu()) and torch.equal(found[1][1], out)


def test_nothing_stays_behind() -> None:
    layer = nn.ReLU()
    with (
        pytest.raises(ValueError, match='stop'),
        captured([layer], lambda *call: len(call)) as found,
    ):
        layer(torch.ones(1))
        raise ValueError('stop')
    layer(torch.ones(1))
    assert found == [(0, 3)] and not layer._forward_hooks
