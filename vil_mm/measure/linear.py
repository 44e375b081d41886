"""What a linear classifier reads off raw pixels: the least that a network has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import Tensor

from vil_mm.runs.tasks import registry_scope

WEIGHT_DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def linear_scores(cfg: Config, weight_decays: Sequence[float] = WEIGHT_DECAYS) -> dict[str, float]:
    """Top-1 on a config's validation set of two classifiers that see no more than pixels.

    The linear one is multinomial logistic regression on standardised pixels, trained to
    convergence. Of several weight decays the one best on the validation set itself counts, so the
    figure flatters it. All pictures are held in memory: for small data sets.

    Args:
        cfg: A config for mmpretrain, of which the data sets are built, both with the validation
            pipeline.
        weight_decays: Strengths of the squared penalty to try.

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
        _percent(fit_linear(x, y, decay)(x_val).argmax(1) == y_val) for decay in weight_decays
    ]
    return {
        'most frequent class': _percent(y_val == frequent),
        'linear on raw pixels': max(scores),
    }


def fit_linear(x: Tensor, y: Tensor, weight_decay: float, steps: int = 100):
    """Logistic regression on features ``(N, C)`` and labels ``(N,)``: a function to logits."""
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
    """Pixels ``(N, C * H * W)`` from 0 to 1 and labels ``(N,)`` of a whole data set."""
    batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    pixels = torch.stack([image.flatten() for image in batch['inputs']]).float() / 255
    return pixels, torch.cat([sample.gt_label for sample in batch['data_samples']])


def _rotate(x: Tensor, x_val: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the coordinates of the space that ``x`` spans: with a squared penalty on the weights
    the solution lies in it, so fewer coordinates than pixels give the same classifier."""
    if len(x) >= x.shape[1]:
        return x, x_val
    basis = torch.linalg.qr(x.T)[0]
    return x @ basis, x_val @ basis


def _percent(right: Tensor) -> float:
    return 100 * right.float().mean().item()
