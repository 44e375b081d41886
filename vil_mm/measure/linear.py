"""A linear classifier on raw pixels, the baseline that a network must beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import Tensor

from vil_mm.runs.tasks import registry_scope

WEIGHT_DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def linear_scores(cfg: Config) -> dict[str, float]:
    """Top-1 accuracy of two simple classifiers on a config's validation set.

    The linear one is multinomial logistic regression on standardised pixels, trained to
    convergence. Its weight decay is selected on the validation set itself, so the figure is
    optimistic. All images are held in memory, so use it for small data sets.

    Args:
        cfg: A config for mmpretrain; both data sets are built with the validation pipeline.

    Returns:
        Percent, for 'most frequent class' and 'linear on raw pixels'.
    """
    pipeline = cfg.val_dataloader.dataset.pipeline
    with registry_scope(cfg):
        (x, y), (x_val, y_val) = (
            _read(DATASETS.build({**cfg[f'{split}_dataloader']['dataset'], 'pipeline': pipeline}))
            for split in ('train', 'val')
        )
    frequent = y.bincount().argmax()
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, x_val = _rotate((x - mean) / std, (x_val - mean) / std)
    scores = [
        _percent(fit_linear(x, y, decay)(x_val).argmax(1) == y_val) for decay in WEIGHT_DECAYS
    ]
    return {
        'most frequent class': _percent(y_val == frequent),
        'linear on raw pixels': max(scores),
    }


def fit_linear(
    x: Tensor, y: Tensor, weight_decay: float, steps: int = 100
) -> Callable[[Tensor], Tensor]:
    """Fit logistic regression to ``(N, C)`` features; returns a function to logits."""
    weight = torch.zeros(x.shape[1], int(y.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn='strong_wolfe')

    def loss() -> Tensor:
        optimizer.zero_grad()
        penalty = weight_decay / 2 * weight.square().sum()
        total = F.cross_entropy(x @ weight + bias, y) + penalty
        total.backward()
        return total

    optimizer.step(loss)
    return lambda features: (features @ weight + bias).detach()


def _read(dataset) -> tuple[Tensor, Tensor]:
    """Pixels ``(N, C * H * W)``, from 0 to 1, and labels ``(N,)`` of a data set."""
    batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    pixels = torch.stack([image.flatten() for image in batch['inputs']]).float() / 255
    return pixels, torch.cat([sample.gt_label for sample in batch['data_samples']])


def _rotate(x: Tensor, x_val: Tensor) -> tuple[Tensor, Tensor]:
    """Both in coordinates of the span of ``x``, where the solution with weight decay lies.

    With fewer samples than pixels, this gives the same classifier at a lower cost.
    """
    if len(x) >= x.shape[1]:
        return x, x_val
    basis = torch.linalg.qr(x.T)[0]
    return x @ basis, x_val @ basis


def _percent(right: Tensor) -> float:
    return 100 * right.float().mean().item()
