"""Check the numbers of data loaders and the training loop."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict


def settle_loaders(cfg: Config, *splits: str) -> None:
    """Check the numbers of data loaders, and remove options that need workers if there are none.

    Args:
        cfg: The config, changed in place.
        splits: Some of 'train', 'val' and 'test'; splits that the config lacks are ignored.

    Raises:
        ValueError: Names the option and the expected value.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for key, least in (('batch_size', 1), ('num_workers', 0)):
            _require(loader, key, least, f'{split}_dataloader.{key}')
        if not loader.get('num_workers'):  # PyTorch rejects these two without workers
            for key in ('persistent_workers', 'prefetch_factor'):
                if loader.get(key):
                    loader.pop(key)


def check_lengths(cfg: Config) -> None:
    """Fail if the training length or the validation interval is not positive.

    Raises:
        ValueError: Names the option and the expected value.
    """
    for key in ('max_iters', 'max_epochs', 'val_interval'):
        _require(cfg.train_cfg, key, 1, f'train_cfg.{key}')


def _require(options: ConfigDict, key: str, least: int, at: str) -> None:
    value = options.get(key)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if key in options and value is not None and not (whole and value >= least):
        raise ValueError(f'{at}={value!r}: expected a whole number, at least {least}')
