"""Values of ``--cfg-options``: Python's, and those of mmengine's own tools."""

from __future__ import annotations

import pytest
from mmengine.config import DictAction
from option_values import read_value


@pytest.mark.parametrize(
    'text',
    [
        '1', '-1', '1e-4', '.5', '007', 'True', 'false', 'None', 'base', 'gloo', '',
        'work_dirs/x-1.pth', 's3://a/b', '1-2', '1,2', '1,', 'a,b', '1,[2,3]', '[1,2]', '[a, b]',
        '[1,[2,[3]]]', '(1,2)', '[(1,2)]', '[(1,2),[a,b],c]', '(1,)', '[]', 'a.b.c', "it's",
        '[a.png,b/c.png]', '1j', 'true,None,x', '-inf',
    ],
)  # fmt: skip
def test_forms_of_mmengine_stay(text: str) -> None:
    own = read_value(text)
    theirs = DictAction._parse_iterable(text) if text != "it's" else text
    assert own == theirs and type(own) is type(theirs)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ("{'embed_dims': 192, 'num_layers': 2}", {'embed_dims': 192, 'num_layers': 2}),
        ("dict(type='Pretrained', checkpoint='x')", {'type': 'Pretrained', 'checkpoint': 'x'}),
        ('dict(type=Pretrained, ok=true)', {'type': 'Pretrained', 'ok': True}),
        ("[dict(a=dict(b=(1, None))), {'c': [1e-3]}]", [{'a': {'b': (1, None)}}, {'c': [0.001]}]),
        ('dict()', {}),
        ('(1,2),(3,4)', [(1, 2), (3, 4)]),
        ("'text, with a comma'", 'text, with a comma'),
        ("'1'", '1'),
        ('"it\'s"', "it's"),
        ('two words', 'two words'),
        ("['a, b', c d]", ['a, b', 'c d']),
        (r'\d+(a|b)', r'\d+(a|b)'),
        ('[dict(a=1), b/c]', [{'a': 1}, 'b/c']),
        ('f(1,2)', 'f(1,2)'),
    ],
)
def test_forms_of_python(text: str, value: object) -> None:
    assert read_value(text) == value and type(read_value(text)) is type(value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[1,2', r'lacks a closing \]'),
        ('(1,2]', r'has an unmatched \]'),
        ('a,b)', r'has an unmatched \)'),
        ('dict(a=1', 'is not a dict'),
        ('dict(a=b/c.pth)', 'is neither a number nor a quoted string'),
        ('dict(1)', 'is not a dict'),
        ('{1, 2}', 'is not a dict'),
        ('{[1]: 2}', 'is not a dict'),
        ('dict(a=open("x"))', 'is not a dict'),
        ('(' * 5000, 'lacks a closing'),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_value(text)
