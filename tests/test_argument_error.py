"""What is said about an argument, in Python and on a command line."""

from __future__ import annotations

import pytest

from vil_mm.errors import ArgumentError


@pytest.mark.parametrize(
    ('argument', 'python', 'option'),
    [
        ({'device': 'cuda'}, "device='cuda': no", '--device cuda: no'),
        ({'batch_size': 0}, 'batch_size=0: no', '--batch-size 0: no'),
        ({'tta': True}, 'tta=True: no', '--tta: no'),
        ({'shape': (224, 225)}, 'shape=(224, 225): no', '--shape 224 225: no'),
    ],
)
def test_one_message_in_two_words(argument: dict, python: str, option: str) -> None:
    error = ArgumentError('no', **argument)
    assert (str(error), error.as_option()) == (python, option)
    assert isinstance(error, ValueError)
