"""Augmentation that depends only on the seed and the position in the stream of training samples.

mmengine resumes the order of samples but not the random numbers that augment them, which live in
worker processes. Here the sampler gives every sample its own seed, and the first transform of the
pipeline seeds the generators with it: a resumed run sees exactly the images that an uninterrupted
run would have seen, with any number of workers.
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
    """mmengine's ``InfiniteSampler`` with a seed for every index, from the run's seed and position.

    Use with :class:`SeedAugmentation`. Arguments as in ``InfiniteSampler``.
    """

    drawn = 0  # samples that this rank has taken from the stream

    def __iter__(self) -> Iterator[SeededIndex]:
        for index in self.indices:
            position = self.drawn * self.world_size + self.rank
            self.drawn += 1
            yield SeededIndex(index, mix_seeds(self.seed, position))

    def skip(self, num_samples: int) -> None:
        """Go to an absolute position in this rank's stream; mmengine calls this on resuming."""
        self.indices = itertools.islice(self._indices_of_rank(), num_samples, None)
        self.drawn = num_samples


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """Seed the random generators with the sample's seed; comes first in a training pipeline."""

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
