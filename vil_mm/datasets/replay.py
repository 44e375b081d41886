"""Augmentation as a function of the seed and the place in the stream of training samples.

mmengine resumes the order of the samples but not the random numbers that augment them, which live
in worker processes. Here the sampler gives every sample it draws a seed of its own, and the first
transform of the pipeline starts the generators from it: a resumed run sees the very pictures the
uninterrupted one would have seen, whatever the number of workers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS, TRANSFORMS


class SeededIndex(int):
    """A data set index that carries the seed of its augmentation."""

    seed: int

    def __new__(cls, index: int, seed: int) -> SeededIndex:
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __getnewargs__(self) -> tuple[int, int]:
        return int(self), self.seed


@DATA_SAMPLERS.register_module()
class ReplayableInfiniteSampler(InfiniteSampler):
    """mmengine's ``InfiniteSampler`` whose indices carry a seed made of (run's seed, place).

    Use with :class:`SeedAugmentation`. Arguments as in ``InfiniteSampler``.
    """

    drawn = 0  # samples that this rank has taken from the stream

    def __iter__(self) -> Iterator[SeededIndex]:
        for index in self.indices:
            place = self.drawn * self.world_size + self.rank
            self.drawn += 1
            yield SeededIndex(index, mix_seeds(self.seed, place))

    def skip(self, num_samples: int) -> None:
        """Go to an absolute place of this rank's stream; mmengine calls it when it resumes."""
        self.indices = itertools.islice(self._indices_of_rank(), num_samples, None)
        self.drawn = num_samples


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """Start the random generators from the sample's own seed; first in a training pipeline."""

    def transform(self, results: dict) -> dict:
        index = results.get('sample_idx')
        if not isinstance(index, SeededIndex):
            raise ValueError(
                'SeedAugmentation needs a data loader with '
                "sampler=dict(type='ReplayableInfiniteSampler') directly over the data set; "
                'remove this transform to train without replayable augmentation'
            )
        seed_everything(index.seed)
        return results


def mix_seeds(*numbers: int) -> int:
    """One 32-bit seed from several numbers; neighbours give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, on all devices."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
