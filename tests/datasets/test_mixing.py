"""Mixup and cutmix with the batch in reverse, read off pictures of one value each."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.models.utils.batch_augments import RandomBatchAugment
from mmpretrain.registry import BATCH_AUGMENTS
from mmpretrain.structures import DataSample
from torch import Tensor

import vil_mm
from vil_mm.datasets import ReversedCutMix, ReversedMixup
from vil_mm.datasets.replay import seed_everything

BATCH, HEIGHT, WIDTH = 6, 20, 14


def plain_batch(batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """Images of which number n has the value n everywhere, and is of class n."""
    values = torch.arange(batch, dtype=torch.float32)
    return values.view(-1, 1, 1, 1).repeat(1, 3, HEIGHT, WIDTH), torch.eye(batch)


def targets(batch: int, share: float) -> Tensor:
    """What the image keeps of its own class; the rest goes to its partner's."""
    rows = torch.zeros(batch, batch)
    for n in range(batch):
        rows[n, n] += share
        rows[n, batch - 1 - n] += 1 - share
    return rows


def mixup_share(mixed: Tensor) -> float:
    """λ of a mixed plain batch: image 0 of value 0 was mixed with one of value B - 1."""
    return 1 - mixed[0, 0, 0, 0].item() / (len(mixed) - 1)


def is_cutmix(mixed: Tensor) -> bool:
    return bool((mixed == mixed.round()).all()) and mixed[0].unique().numel() <= 2


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('batch', [2, 6])
def test_mixup_adds_the_mirror_image_of_the_batch(seed, batch):
    seed_everything(seed)
    images, labels = plain_batch(batch)
    mixed, scores = ReversedMixup(alpha=0.8)(images, labels)
    lam = mixup_share(mixed)
    assert 0 < lam < 1
    for n in range(batch):
        expected = lam * n + (1 - lam) * (batch - 1 - n)
        torch.testing.assert_close(mixed[n], torch.full_like(mixed[n], expected))
    torch.testing.assert_close(scores, targets(batch, lam))


@pytest.mark.parametrize('alpha', [0.8, 1.0])
def test_lambda_has_the_beta_distribution(alpha):
    seed_everything(0)
    mixup = ReversedMixup(alpha=alpha)
    lams = np.array([mixup_share(mixup(*plain_batch(2))[0]) for _ in range(3000)])
    assert lams.mean() == pytest.approx(0.5, abs=0.02)
    assert lams.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


@pytest.mark.parametrize('seed', range(30))
def test_cutmix_swaps_one_box_and_counts_its_pixels(seed):
    seed_everything(seed)
    images, labels = plain_batch()
    mixed, scores = ReversedCutMix(alpha=1.0)(images, labels)
    box = mixed[0, 0] == BATCH - 1
    for n in range(BATCH):
        expected = torch.where(box, float(BATCH - 1 - n), float(n))
        torch.testing.assert_close(mixed[n], expected.expand(3, -1, -1), rtol=0, atol=0)
    rows, columns = box.any(1).nonzero(), box.any(0).nonzero()
    if box.any():
        filled = box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert filled.all(), 'a rectangle'
    # also where the border clips the box: its real area, not the one that was drawn
    share = 1 - box.sum().item() / (HEIGHT * WIDTH)
    torch.testing.assert_close(scores, targets(BATCH, share))


def test_cutmix_meets_every_border():
    """The boxes of the test above are clipped now and then, on all four sides."""
    touched = Counter()
    for seed in range(30):
        seed_everything(seed)
        box = ReversedCutMix(alpha=1.0)(*plain_batch())[0][0, 0] == BATCH - 1
        edges = dict(top=box[0], bottom=box[-1], left=box[:, 0], right=box[:, -1])
        touched.update(name for name, edge in edges.items() if edge.any())
    assert len(touched) == 4


@pytest.mark.parametrize('augment', [ReversedMixup, ReversedCutMix])
def test_inputs_are_left_as_they_were(augment):
    """The reversed batch overlaps itself: results must not be written over what is still read."""
    for seed in range(10):
        seed_everything(seed)
        images, labels = torch.rand(4, 3, 9, 9), torch.eye(4)
        before = images.clone()
        mixed, scores = augment(alpha=1.0)(images, labels)
        assert torch.equal(images, before) and torch.equal(labels, torch.eye(4))
        assert mixed.data_ptr() != images.data_ptr() and scores.data_ptr() != labels.data_ptr()
        assert mixed.dtype == scores.dtype == torch.float32
        assert mixed.shape == images.shape and mixed.is_contiguous()


@pytest.mark.parametrize('augment', [ReversedMixup, ReversedCutMix])
@pytest.mark.parametrize('batch', [1, 3])
def test_an_odd_batch_is_refused(augment, batch):
    with pytest.raises(ValueError, match=rf'even number of images, got {batch}: choose an even'):
        augment(alpha=1.0)(*plain_batch(batch))


@pytest.fixture(scope='module')
def preprocessor() -> ClsDataPreprocessor:
    """As the classifier of the configs builds it."""
    init_default_scope('mmpretrain')
    base = vil_mm.CONFIG_DIR / '_base_' / 'models' / 'vil_classifier_t.py'
    augments = Config.fromfile(base).model.train_cfg.augments
    assert [augment['type'] for augment in augments] == ['ReversedMixup', 'ReversedCutMix']
    assert [augment['alpha'] for augment in augments] == [0.8, 1.0]
    return ClsDataPreprocessor(num_classes=BATCH, batch_augments=dict(augments=augments))


def test_recipe_mixes_every_batch_half_of_them_by_cutmix(preprocessor):
    seed_everything(0)
    kinds = Counter()
    for _ in range(300):
        images = plain_batch()[0].to(torch.uint8)
        samples = [DataSample().set_gt_label(n) for n in range(BATCH)]
        data = preprocessor(dict(inputs=images, data_samples=samples), training=True)
        assert data['inputs'].dtype == torch.float32
        scores = torch.stack([sample.gt_score for sample in data['data_samples']])
        kinds['cutmix' if is_cutmix(data['inputs']) else 'mixup'] += 1
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores, targets(BATCH, scores[0, 0].item()))
        # the mean over the pixels of image 0 and its soft target tell the same λ
        mean = data['inputs'][0].mean().item()
        assert mean == pytest.approx((1 - scores[0, 0].item()) * (BATCH - 1), abs=1e-4)
    assert 115 < kinds['cutmix'] < 185, kinds


def test_evaluation_is_not_mixed(preprocessor):
    images = plain_batch()[0].to(torch.uint8)
    samples = [DataSample().set_gt_label(n) for n in range(BATCH)]
    data = preprocessor(dict(inputs=images, data_samples=samples), training=False)
    assert torch.equal(data['inputs'], images.float())


def test_registered_where_mmpretrain_looks():
    assert BATCH_AUGMENTS.get('ReversedMixup') is ReversedMixup
    assert BATCH_AUGMENTS.get('ReversedCutMix') is ReversedCutMix
    augment = RandomBatchAugment([dict(type='ReversedMixup', alpha=0.8)])
    assert augment(*plain_batch())[0].shape == (BATCH, 3, HEIGHT, WIDTH)
