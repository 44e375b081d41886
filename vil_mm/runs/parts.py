"""Name the part of a config that cannot be built, in one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR

from mmengine.logging import print_log

# what classes raise about their arguments, and registries about names
_ABOUT_ARGUMENTS = (
    AssertionError, AttributeError, IndexError, KeyError, OSError, TypeError, ValueError,
)  # fmt: skip


class ConfigError(ValueError):
    """A part of a config cannot be built: a name or a value in it is wrong."""


@contextmanager
def building(part: str) -> Iterator[None]:
    """Say which part of the config an error is about; its traceback goes to the log.

    Args:
        part: Keys of the config, as a user knows them.

    Raises:
        ConfigError: In the place of errors that are not this package's own.
    """
    try:
        yield
    except _ABOUT_ARGUMENTS as error:
        if type(error).__module__.split('.')[0] == 'vil_mm':
            raise
        print_log(traceback.format_exc(), 'current', ERROR)
        raise ConfigError(f'{part} cannot be built: {_in_short(error)}') from error


def _in_short(error: Exception) -> str:
    """The first line of an error, of a registry's the first sentence."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return text.split('. Please check')[0].splitlines()[0] if text else type(error).__name__


class NamedParts:
    """Mixed into one of mmengine's runners: what it cannot build it calls by its keys."""

    def build_model(self, *args, **kwargs):
        with building('model'):
            return super().build_model(*args, **kwargs)

    def build_train_loop(self, *args, **kwargs):
        with building('train_dataloader or train_cfg'):
            return super().build_train_loop(*args, **kwargs)

    def build_val_loop(self, *args, **kwargs):
        with building('val_dataloader, val_evaluator or val_cfg'):
            return super().build_val_loop(*args, **kwargs)

    def build_test_loop(self, *args, **kwargs):
        with building('test_dataloader, test_evaluator or test_cfg'):
            return super().build_test_loop(*args, **kwargs)

    def build_optim_wrapper(self, *args, **kwargs):
        with building('optim_wrapper'):
            return super().build_optim_wrapper(*args, **kwargs)

    def build_param_scheduler(self, *args, **kwargs):
        with building('param_scheduler'):
            return super().build_param_scheduler(*args, **kwargs)

    def register_hooks(self, *args, **kwargs):
        with building('default_hooks or custom_hooks'):
            return super().register_hooks(*args, **kwargs)

    def set_randomness(self, *args, **kwargs):
        with building('randomness'):
            return super().set_randomness(*args, **kwargs)
