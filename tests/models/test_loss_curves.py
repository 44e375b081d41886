"""Training with one form of the mLSTM or another: the same loss, step by step."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm import mlstm as forms
from vil_mm.mlstm.triton.runtime import INTERPRETED
from vil_mm.models.backbones import VisionLSTM

IMAGES, BATCH, CLASSES, STEPS = 64, 16, 4, 200
# Losses start at 1.5. Between the forms they differed by 2.4e-7 at most, two units in the last
# place of float32, and by less towards the end.
FLOAT32 = 2e-6


class Classifier(nn.Module):
    """Two layers over 4 x 4 tokens, and a linear head on their mean."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        arch = {'embed_dims': 32, 'num_layers': 2}
        options = {'img_size': 32, 'patch_size': 8, 'out_type': 'avg', 'mlstm_backend': backend}
        self.backbone = VisionLSTM(arch, **options)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)[0])


def train(
    backend: str, steps: int = STEPS, batch: int = BATCH, seed: int = 0, autocast: bool = False
) -> Tensor:
    """Losses ``(steps)`` of learning 64 random images by heart."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, 3, 32, 32, generator=generator)
    labels = torch.randint(0, CLASSES, (IMAGES,), generator=generator)
    torch.manual_seed(seed)
    model = Classifier(backend)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
    losses = torch.empty(steps)
    for step in range(steps):
        seen = torch.arange(step * batch, (step + 1) * batch) % IMAGES
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(model(images[seen]).float(), labels[seen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[step] = loss.detach()
    return losses


@functools.cache
def by_definition() -> Tensor:
    losses = train('parallel')
    assert losses[-50:].mean() < 0.05 * losses[:4].mean()
    return losses


def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 tokens in three chunks and a part of one."""
    monkeypatch.setattr(forms, 'choose_chunk_size', lambda *sizes: 5)


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['chunkwise', 'recurrent'])
def test_forms_train_alike(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch)
    assert (train(backend) - by_definition()).abs().max() < FLOAT32


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['parallel', 'chunkwise'])
def test_half_precision_differs_less_than_seeds_do(backend: str, monkeypatch) -> None:
    small_chunks(monkeypatch)
    of_dtype = (train(backend, autocast=True) - by_definition()).abs()
    of_seeds = (train('parallel', seed=1) - by_definition()).abs()
    for steps in (slice(0, 50), slice(50, 100), slice(100, 200)):
        assert of_dtype[steps].mean() < 0.1 * of_seeds[steps].mean()


@pytest.mark.skipif(not INTERPRETED, reason='needs TRITON_INTERPRET=1')
def test_interpreted_kernels_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    small_chunks(monkeypatch)
    fused = train('triton', steps=3, batch=1)
    assert (fused - train('chunkwise', steps=3, batch=1)).abs().max() < FLOAT32
