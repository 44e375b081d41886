"""Errors about arguments, and errors in one line. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable


class ArgumentError(ValueError):
    """An argument has an unusable value.

    In Python the message reads ``device='cuda': PyTorch finds no GPU here``. A command line shows
    :meth:`as_option` instead, ``--device cuda: ...``.

    Args:
        problem: What is wrong, and what to do.
        **argument: The name and value of one argument.
    """

    def __init__(self, problem: str, **argument: object) -> None:
        ((self.name, self.value),) = argument.items()
        self.problem = problem
        super().__init__(f'{self.name}={self.value!r}: {problem}')

    def as_option(self) -> str:
        """The message for a command line; True and None are options without a value."""
        option = f'--{self.name.replace("_", "-")}'
        if self.value is False:
            return f'without {option}: {self.problem}'
        values = self.value if isinstance(self.value, list | tuple) else [self.value]
        words = [str(value) for value in values if value is not True and value is not None]
        return ' '.join([option, *words]) + f': {self.problem}'


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its class if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shorten(names: Iterable[str], most: int = 8) -> str:
    """The first names in alphabetical order, and how many more there are, for a message."""
    names = sorted(names)
    rest = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + rest if names else 'nothing'


def named_line(error: Exception) -> str:
    """An error's class and the first line of its message."""
    return f'{type(error).__name__}: {error}'.strip().splitlines()[0]
