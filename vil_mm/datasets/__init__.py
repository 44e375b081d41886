"""Data sets, samplers and transforms; importing this package registers them with MMEngine."""

from vil_mm.datasets.drawn import DrawnDataset, draw_dataset
from vil_mm.datasets.replay import ReplayableInfiniteSampler, SeedAugmentation

__all__ = ['DrawnDataset', 'ReplayableInfiniteSampler', 'SeedAugmentation', 'draw_dataset']
