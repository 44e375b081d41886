"""Numbers of data loaders and of the training loop that PyTorch or mmengine would stumble over."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict


def settle_loaders(cfg: Config, *splits: str) -> None:
    """Check the numbers of data loaders; without workers nothing of them is kept, in place.

    Args:
        cfg: The config.
        splits: Of 'train', 'val' and 'test'; those that the config lacks are left out.

    Raises:
        ValueError: Names the option and what it has to be.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for key, least in (('batch_size', 1), ('num_workers', 0)):
            _require(loader, key, least, f'{split}_dataloader.{key}')
        if not loader.get('num_workers'):  # PyTorch would refuse these two
            for key in ('persistent_workers', 'prefetch_factor'):
                if loader.get(key):
                    loader.pop(key)


def check_lengths(cfg: Config) -> None:
    """Fail if a training would have no update, or no step between its validations.

    Raises:
        ValueError: Names the option and what it has to be.
    """
    for key in ('max_iters', 'max_epochs', 'val_interval'):
        _require(cfg.train_cfg, key, 1, f'train_cfg.{key}')


def _require(options: ConfigDict, key: str, least: int, at: str) -> None:
    value = options.get(key)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if key in options and value is not None and not (whole and value >= least):
        raise ValueError(f'{at}={value!r}: expected a whole number from {least} up')
