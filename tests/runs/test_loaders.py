"""Numbers of data loaders and of the training loop."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from vil_mm.runs.loaders import check_lengths, settle_loaders


def config(**options: object) -> Config:
    loader = dict(batch_size=2, num_workers=2, persistent_workers=True, prefetch_factor=2)
    train_cfg = dict(type='IterBasedTrainLoop', max_iters=10, val_interval=5)
    cfg = Config(dict(train_dataloader=loader, val_dataloader=None, train_cfg=train_cfg))
    cfg.merge_from_dict(options)
    return cfg


def test_no_workers_are_a_switch_of_their_own() -> None:
    """For a debugger one sets num_workers=0 alone; PyTorch refuses what it does not go with."""
    cfg = config(**{'train_dataloader.num_workers': 0})
    settle_loaders(cfg, 'train', 'val', 'test')
    assert cfg.train_dataloader == dict(batch_size=2, num_workers=0)
    cfg = config()
    settle_loaders(cfg, 'train')
    assert cfg.train_dataloader == config().train_dataloader


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('train_dataloader.batch_size', 0),
        ('train_dataloader.batch_size', '4'),
        ('train_dataloader.num_workers', -1),
        ('train_cfg.max_iters', 0),
        ('train_cfg.val_interval', 0),
        ('train_cfg.max_iters', 1e4),
    ],
)
def test_refused(key: str, value: object) -> None:
    cfg = config(**{key: value})
    with pytest.raises(ValueError, match=rf'{key}={value!r}: expected a whole number, at least'):
        settle_loaders(cfg, 'train')
        check_lengths(cfg)
