"""Messages about an argument, in Python and on a command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import vil_mm
from vil_mm.errors import ArgumentError


@pytest.mark.parametrize(
    ('argument', 'python', 'option'),
    [
        ({'device': 'cuda'}, "device='cuda': no", '--device cuda: no'),
        ({'batch_size': 0}, 'batch_size=0: no', '--batch-size 0: no'),
        ({'tta': True}, 'tta=True: no', '--tta: no'),
        ({'tta': False}, 'tta=False: no', 'without --tta: no'),
        ({'values': None}, 'values=None: no', '--values: no'),
        ({'repeat': 1}, 'repeat=1: no', '--repeat 1: no'),
        ({'shape': (224, 225)}, 'shape=(224, 225): no', '--shape 224 225: no'),
    ],
)
def test_one_message_in_two_words(argument: dict, python: str, option: str) -> None:
    error = ArgumentError('no', **argument)
    assert (str(error), error.as_option()) == (python, option)
    assert isinstance(error, ValueError)


def _raised_texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise):
            texts = [x.value for x in ast.walk(node) if isinstance(x, ast.Constant)]
            yield ' '.join(text for text in texts if isinstance(text, str))


def test_errors_name_no_options_of_command_lines() -> None:
    """Except in whole commands to run, such as ``python -m vil_mm --models``."""
    named = [
        f'{path.name}: {text}'
        for path in Path(vil_mm.__file__).parent.rglob('*.py')
        for text in _raised_texts(path)
        if re.search(r'--[a-z]', text) and 'python ' not in text
    ]
    assert not named, '\n'.join(named)
