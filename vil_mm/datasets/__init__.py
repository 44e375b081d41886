"""Data sets, samplers and transforms; importing this package registers them with MMEngine."""

from vil_mm.datasets.centered_pad import CenteredPad
from vil_mm.datasets.drawn import DrawnDataset, draw_dataset
from vil_mm.datasets.imagenet import (
    CORRUPTIONS,
    DatasetError,
    ImageNetC,
    ImageNetFolders,
    imagenet_wnids,
)
from vil_mm.datasets.mixing import ReversedCutMix, ReversedMixup
from vil_mm.datasets.multispectral import LoadMultispectralImage
from vil_mm.datasets.replay import ReplayableInfiniteSampler, SeedAugmentation
from vil_mm.datasets.three_augment import ThreeAugment

__all__ = [
    'CORRUPTIONS',
    'CenteredPad',
    'DatasetError',
    'DrawnDataset',
    'ImageNetC',
    'ImageNetFolders',
    'LoadMultispectralImage',
    'ReplayableInfiniteSampler',
    'ReversedCutMix',
    'ReversedMixup',
    'SeedAugmentation',
    'ThreeAugment',
    'draw_dataset',
    'imagenet_wnids',
]
