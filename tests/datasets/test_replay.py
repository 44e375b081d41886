"""Replayable augmentation: one stream of indices and seeds, wherever it is read from."""

from __future__ import annotations

import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS
from mmengine.runner import Runner

from vil_mm.datasets.replay import (
    ReplayableInfiniteSampler,
    SeedAugmentation,
    SeededIndex,
    mix_seeds,
    seed_everything,
)

DATA = range(5)  # all that a sampler asks of a data set is its length


def take(sampler: InfiniteSampler, count: int) -> list[tuple[int, int]]:
    """The next samples of a stream as (index, seed)."""
    return [(int(index), index.seed) for index in itertools.islice(sampler, count)]


def ranked(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int, **kwargs):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
    return ReplayableInfiniteSampler(DATA, seed=3, **kwargs)


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_index_keeps_its_seed_when_pickled(protocol):
    index = pickle.loads(pickle.dumps(SeededIndex(7, 2**32 - 1), protocol))
    assert type(index) is SeededIndex
    assert index == 7 and index.seed == 2**32 - 1
    assert [10, 20, 30][SeededIndex(2, seed=0)] == 30


@pytest.mark.parametrize('shuffle', [True, False])
def test_same_indices_as_mmengine(shuffle):
    ours = ReplayableInfiniteSampler(DATA, shuffle=shuffle, seed=3)
    theirs = InfiniteSampler(DATA, shuffle=shuffle, seed=3)
    assert [i for i, _ in take(ours, 23)] == list(itertools.islice(theirs, 23))


def test_seeds_come_from_the_runs_seed_and_the_place():
    seeds = [seed for _, seed in take(ReplayableInfiniteSampler(DATA, seed=3), 200)]
    assert len(set(seeds)) == 200, 'a sample drawn again is augmented in another way'
    assert all(0 <= seed < 2**32 for seed in seeds), 'the range of np.random.seed'
    again = [seed for _, seed in take(ReplayableInfiniteSampler(DATA, seed=3), 200)]
    other = [seed for _, seed in take(ReplayableInfiniteSampler(DATA, seed=4), 200)]
    assert seeds == again and not set(seeds) & set(other)


@pytest.mark.parametrize(('rank', 'world_size'), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize('skipped', [0, 1, 7])
def test_skip_goes_where_an_uninterrupted_stream_would_be(monkeypatch, rank, world_size, skipped):
    stream = take(ranked(monkeypatch, rank, world_size), 30)
    resumed = ranked(monkeypatch, rank, world_size)
    resumed.skip(skipped)
    assert take(resumed, 30 - skipped) == stream[skipped:]
    resumed.skip(skipped)
    assert take(resumed, 3) == stream[skipped : skipped + 3], 'the place is absolute'


def test_iterating_again_goes_on():
    sampler = ReplayableInfiniteSampler(DATA, seed=3)
    parts = take(sampler, 4) + take(sampler, 9)
    assert parts == take(ReplayableInfiniteSampler(DATA, seed=3), 13)


def test_ranks_share_indices_out_and_no_seed(monkeypatch):
    first, second = (take(ranked(monkeypatch, rank, 2), 20) for rank in (0, 1))
    assert not {seed for _, seed in first} & {seed for _, seed in second}
    together = [pair for pairs in zip(first, second, strict=True) for pair in pairs]
    assert together == take(ranked(monkeypatch, 0, 1), 40), 'two ranks see what one would see'


def test_mix_seeds():
    assert mix_seeds(1, 2) == mix_seeds(1, 2)
    mixed = {mix_seeds(a, b) for a in range(20) for b in range(20)}
    assert len(mixed) == 400


def test_seed_everything_covers_the_three_generators():
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(()).item()

    seed_everything(5)
    first = draw()
    assert all(a != b for a, b in zip(first, draw(), strict=True))
    seed_everything(5)
    assert draw() == first


def test_registered():
    assert DATA_SAMPLERS.get('ReplayableInfiniteSampler') is ReplayableInfiniteSampler
    assert TRANSFORMS.get('SeedAugmentation') is SeedAugmentation


def batches(config: str, num_workers: int, count: int, skip: int = 0) -> list[torch.Tensor]:
    """Input batches ``(B, C, H, W)`` that a training would see."""
    loader_cfg = Config.fromfile(config).train_dataloader
    loader_cfg.update(num_workers=num_workers)
    loader_cfg.dataset._scope_ = 'mmseg'
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    loader.sampler.skip(skip)
    return [torch.stack(batch['inputs']) for batch in itertools.islice(loader, count)]


def test_pictures_do_not_depend_on_workers_or_on_what_was_drawn_before(tiny_config):
    seed_everything(1)
    here = batches(tiny_config, num_workers=0, count=6)
    seed_everything(2)
    elsewhere = batches(tiny_config, num_workers=2, count=6)
    later = batches(tiny_config, num_workers=2, count=2, skip=8)
    assert here[0].shape == (2, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(here, elsewhere, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(here[4:], later, strict=True))


def test_a_picture_drawn_again_is_augmented_anew(tiny_config):
    cfg = Config.fromfile(tiny_config).train_dataloader.dataset
    dataset = DATASETS.build(dict(cfg, _scope_='mmseg'))
    pictures = [dataset[SeededIndex(1, seed)]['inputs'] for seed in (0, 0, 1)]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_another_sampler_is_refused():
    with pytest.raises(ValueError, match=r"SeedAugmentation needs.*'ReplayableInfiniteSampler'"):
        SeedAugmentation()(dict(sample_idx=3))
    with pytest.raises(ValueError, match='directly over the data set'):
        SeedAugmentation()({})
