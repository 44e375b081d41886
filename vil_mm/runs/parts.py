"""Errors that name the part of a config that cannot be built."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import ERROR

from mmengine.logging import print_log

# what classes raise for wrong arguments, and registries for wrong names
_ABOUT_ARGUMENTS = (
    AssertionError, AttributeError, IndexError, KeyError, OSError, TypeError, ValueError,
)  # fmt: skip


# methods of mmengine's runners -> keys of the config that they read
_BUILDERS = {
    'build_model': 'model',
    'build_train_loop': 'train_dataloader or train_cfg',
    'build_val_loop': 'val_dataloader, val_evaluator or val_cfg',
    'build_test_loop': 'test_dataloader, test_evaluator or test_cfg',
    'build_optim_wrapper': 'optim_wrapper',
    'build_param_scheduler': 'param_scheduler',
    'register_hooks': 'default_hooks or custom_hooks',
    'set_randomness': 'randomness',
}


class ConfigError(ValueError):
    """A part of a config cannot be built, because a name or a value is wrong."""


@contextmanager
def building(part: str) -> Iterator[None]:
    """Name the part of the config in errors raised inside; their traceback goes to the log.

    Args:
        part: Keys of the config.

    Raises:
        ConfigError: Instead of errors that are not this package's own.
    """
    try:
        yield
    except _ABOUT_ARGUMENTS as error:
        if type(error).__module__.split('.')[0] == 'vil_mm':
            raise
        print_log(traceback.format_exc(), 'current', ERROR)
        raise ConfigError(f'{part} cannot be built: {_shorten(error)}') from error


def _shorten(error: Exception) -> str:
    """The first line of an error, without a registry's advice."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return text.split('. Please check')[0].splitlines()[0] if text else type(error).__name__


class NamedParts:
    """Mix-in for mmengine's runners: an error names the part of the config."""


def _name_part(method: str, part: str) -> Callable:
    """A runner's method that names the part of the config it builds."""

    def build(self: NamedParts, *args: object, **kwargs: object) -> object:
        with building(part):
            return getattr(super(NamedParts, self), method)(*args, **kwargs)

    return build


for _method, _part in _BUILDERS.items():
    setattr(NamedParts, _method, _name_part(_method, _part))
