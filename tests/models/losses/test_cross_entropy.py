"""Class weights against PyTorch's own cross entropy, in float64, with ignored pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmseg.models import losses
from mmseg.registry import MODELS
from torch import Tensor

import vil_mm  # noqa: F401

WEIGHTS = [0.5, 2.0, 1.0]
RTOL = 1e-7  # mmseg adds float32's epsilon to the divisor
RTOL_SIGMOID = 1e-6  # and turns labels into float32


def build(**options) -> torch.nn.Module:
    return MODELS.build(dict(type='mmseg.CrossEntropyLoss', **options))


def batch(classes: int = 3) -> tuple[Tensor, Tensor]:
    """Logits (2, K, 5, 3), as wide as there are classes, and labels, some of them ignored."""
    torch.manual_seed(0)
    labels = torch.randint(classes, (2, 5, 3))
    labels[:, 0], labels[0, 1] = 255, 255
    return torch.randn(2, classes, 5, 3, dtype=torch.float64, requires_grad=True), labels


def assert_same(loss: Tensor, expected: Tensor, logits: Tensor, rtol: float = RTOL) -> None:
    torch.testing.assert_close(loss, expected, rtol=rtol, atol=0, check_dtype=False)
    (got,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(got, wanted, rtol=rtol, atol=1e-12 if rtol == RTOL else 1e-8)


@pytest.mark.parametrize('avg_non_ignore', [True, False])
@pytest.mark.parametrize('source', ['list', 'npy', 'json'])
def test_weighted_softmax_is_pytorchs(avg_non_ignore: bool, source: str, tmp_path: Path) -> None:
    np.save(tmp_path / 'w.npy', WEIGHTS)
    (tmp_path / 'w.json').write_text(json.dumps(WEIGHTS))
    class_weight = WEIGHTS if source == 'list' else str(tmp_path / f'w.{source}')
    loss = build(class_weight=class_weight, avg_non_ignore=avg_non_ignore, loss_weight=0.4)
    logits, labels = batch()
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)
    expected = 0.4 * F.cross_entropy(logits, labels, weight, ignore_index=255)
    assert_same(loss(logits, labels, ignore_index=255), expected, logits)


@pytest.mark.parametrize('reduction', ['sum', 'none'])
def test_other_reductions(reduction: str) -> None:
    logits, labels = batch()
    loss = build(class_weight=WEIGHTS, avg_non_ignore=True, reduction=reduction)
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)
    expected = F.cross_entropy(logits, labels, weight, ignore_index=255, reduction=reduction)
    torch.testing.assert_close(loss(logits, labels, ignore_index=255), expected)


@pytest.mark.parametrize('options', [{}, {'avg_non_ignore': True}])
def test_without_weights_it_is_mmsegs(options: dict) -> None:
    logits, labels = batch()
    own, theirs = build(**options), losses.CrossEntropyLoss(**options)
    assert own(logits, labels, ignore_index=255) == theirs(logits, labels, ignore_index=255)


def test_nothing_labelled_is_no_loss() -> None:
    logits, labels = batch()
    loss = build(class_weight=WEIGHTS, avg_non_ignore=True)
    assert loss(logits, torch.full_like(labels, 255), ignore_index=255) == 0


def test_sigmoid_weights_belong_to_outputs_not_to_columns() -> None:
    logits, labels = batch()
    loss = build(use_sigmoid=True, class_weight=WEIGHTS, avg_non_ignore=True)
    known = (labels != 255).unsqueeze(1).expand_as(logits)
    target = F.one_hot(labels.where(labels != 255, 0), 3).movedim(-1, 1).double()
    weight = torch.tensor(WEIGHTS, dtype=torch.float64).reshape(3, 1, 1)
    every = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction='none')
    loss = loss(logits, labels, ignore_index=255)
    assert_same(loss, every[known].mean(), logits, RTOL_SIGMOID)


def test_one_output_weighs_the_foreground() -> None:
    logits, labels = batch(classes=2)
    logits = logits[:, :1].detach().requires_grad_()
    loss = build(use_sigmoid=True, class_weight=[3.0], avg_non_ignore=True)
    known = labels != 255
    expected = F.binary_cross_entropy_with_logits(
        logits[:, 0][known], labels[known].double(), pos_weight=torch.tensor(3.0).double()
    )
    assert_same(loss(logits, labels, ignore_index=255), expected, logits, RTOL_SIGMOID)


@pytest.mark.parametrize('order', ['vil_mm, mmseg.models', 'mmseg.models, vil_mm'])
@pytest.mark.slow
def test_any_order_of_imports(order: str) -> None:
    code = (
        f'import {order}; from mmseg.registry import MODELS; '
        "print(MODELS.get('CrossEntropyLoss').__module__)"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.split()[-1] == 'vil_mm.models.losses.cross_entropy', done.stderr
