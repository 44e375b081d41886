"""docs/troubleshooting.md explains every message that a user can cause.

A user runs tools and ``make``, writes configs, prepares files, and calls the inferencers. Messages
that only a programmer's own call can cause speak for themselves and need no row: those of whole
folders (``LOW_LEVEL``) and single ones elsewhere (``ONLY_FROM_CODE``). What a config or a file can
cause in these folders may stand on the page all the same.

The page writes a message as a code span, with … for what differs from run to run, and may leave
out parts of it, but not the longest.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'troubleshooting.md'
SHORTEST = 12  # characters: of less a message has no words of its own
HOLE = '\0'  # stands where a message names something of the run
WARNINGS = ('warn', 'warning', '_warn')
# Called by the backbone, which has checked its options before, or by code that uses them directly.
LOW_LEVEL = ('vil_mm/mlstm/', 'vil_mm/layers/')
# Beginnings of messages whose options the tools check before, or that no tool and no config reach.
ONLY_FROM_CODE = (
    f'backend {HOLE} is unknown; choose one of',  # tools/get_flops.py has choices
    'no image to measure receptive fields on',
    'batch_size must be at least 1',
    'opacity must be from 0 to 1',
    'not a state dict: names of weights must be strings',
    'not a state dict of VisionLSTM: left over',
    f"layout {HOLE} is not known; choose 'raw' or",
    'size_range must be (smallest, largest)',
    f'{HOLE}.get_layer_depth returns different numbers of levels',
    'cummax over axis',
    f'part {HOLE} is unknown; choose one of',  # tools/export.py has choices
    'the model is in training mode: call model.eval() first',
    'tiled_argmax takes one image',
    f'{HOLE} windows of {HOLE}x{HOLE} pixels need logits',
    'usage: command_line.py TOOL.py ARGUMENTS',
)
# of a shell: what is put in, the innermost brackets first; and the texts that are printed
_SHELL_HOLE = re.compile(r'\$\(\([^()]*\)\)|\$\([^()]*\)|\$\{[^}]*\}|\$\w+')
_SHELL_TEXT = re.compile(r"""\b(?:fail|echo) (?:"([^"]*)"|'([^']*)')""")


def messages(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of errors that are raised, warnings and last words of a command line.

    Texts are on one line, with holes. What a variable or another function gives is one hole.
    """
    for node in ast.walk(ast.parse(source)):
        for argument in _arguments(node):
            for text in _texts(argument):
                yield node.lineno, _on_one_line(_option(node) + text.replace('%s', HOLE))


def shell_messages(source: str) -> Iterator[tuple[int, str]]:
    """The same of a shell script: what ``fail`` and ``echo`` say."""
    for number, line in enumerate(source.splitlines(), start=1):
        for found in _SHELL_TEXT.finditer(_SHELL_HOLE.sub(HOLE, line)):
            yield number, found[1] or found[2] or ''


def longest_part(message: str) -> str:
    """The longest part of a message without a hole."""
    return max(map(str.strip, message.split(HOLE)), key=len)


def is_shortened(span: str, message: str) -> bool:
    """Whether a code span has the longest part of a message, and no words that it has not."""
    start = 0
    for part in filter(None, map(str.strip, span.split('…'))):
        start = message.find(part, start)
        if start < 0:
            return False
        start += len(part)
    return longest_part(message) in span


def spans(page: str) -> list[str]:
    """Code spans, each on one line; in tables | is escaped."""
    return re.findall(r'`([^`\n]+)`', page.replace(r'\|', '|'))


def _arguments(node: ast.AST) -> list[ast.expr]:
    """Where a statement or a call has its message; nothing of those that have none."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return node.exc.args[:1]
    if not isinstance(node, ast.Call):
        return []
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, 'id', '')
    if name in WARNINGS or (name == 'print_log' and 'level' in [x.arg for x in node.keywords]):
        return node.args[:1]
    return node.args[-1:] if name in ('exit', 'error') else []


def _option(node: ast.AST) -> str:
    """What a command line puts before the message of an ``ArgumentError``."""
    call = node.exc if isinstance(node, ast.Raise) else None
    if getattr(getattr(call, 'func', None), 'id', '') != 'ArgumentError':
        return ''
    (keyword,) = call.keywords
    name = keyword.arg.replace('_', '-') if keyword.arg else HOLE
    value = keyword.value.value if isinstance(keyword.value, ast.Constant) else HOLE
    if value is False:
        return f'without --{name}: '
    return f'--{name}: ' if value in (True, None) else f'--{name} {HOLE}: '


def _texts(node: ast.expr) -> list[str]:
    """What an expression may give: two texts of ``a if b else c``, a hole of what is not here."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
        return [''.join(parts)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in _texts(node.left) for b in _texts(node.right)]
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    return [HOLE]


def _on_one_line(text: str) -> str:
    return ' '.join(text.split())


def _own(path: Path) -> list[tuple[int, str]]:
    """A file's messages that have words of their own."""
    found = (shell_messages if path.suffix == '.sh' else messages)(path.read_text())
    return [(line, text) for line, text in found if len(longest_part(text)) >= SHORTEST]


def _is_for_users(module: str, message: str) -> bool:
    return not module.startswith(LOW_LEVEL) and not message.startswith(ONLY_FROM_CODE)


ALL = {
    str(path.relative_to(ROOT)): own
    for folder in ('vil_mm', 'tools', 'configs')
    for path in sorted((ROOT / folder).rglob('*.*'))
    if path.suffix in ('.py', '.sh') and (own := _own(path))
}
MODULES = {
    module: own
    for module, found in ALL.items()
    if (own := [(line, text) for line, text in found if _is_for_users(module, text)])
}


@pytest.fixture(scope='module')
def known() -> list[str]:
    return spans(PAGE.read_text())


@pytest.mark.parametrize('module', MODULES)
def test_every_message_a_user_can_cause_is_on_the_page(module: str, known: list[str]) -> None:
    missing = [
        f'line {line}: {text.replace(HOLE, "…")}'
        for line, text in MODULES[module]
        if not any(is_shortened(span, text) for span in known)
    ]
    assert not missing, f'{module} has messages that {PAGE.name} has not:\n' + '\n'.join(missing)


def test_what_is_left_out_exists() -> None:
    texts = [text for found in ALL.values() for _, text in found]
    stale = [x for x in ONLY_FROM_CODE if not any(text.startswith(x) for text in texts)]
    stale += [x for x in LOW_LEVEL if not any(module.startswith(x) for module in ALL)]
    assert not stale


def test_messages_are_found() -> None:
    source = """
def f(x):
    raise ValueError(f'first {x}, the longer part of it, '
                     'and more' + f'|{x}|')
    raise ArgumentError('not here', on_top=True)
    raise ArgumentError('not there', device=x)
    raise KeyError('one ' + g(x) + ' rest' if x else 'the other')
    raise
    raise ValueError
    log.warning('not %s', x)
    print_log('said', level=1)
    print_log('only told')
    parser.exit(2, f'{x}: ended\\n')
"""
    found = [(line, text.replace(HOLE, '…')) for line, text in messages(source)]
    assert found == [
        (3, 'first …, the longer part of it, and more|…|'),
        (5, '--on-top: not here'),
        (6, '--device …: not there'),
        (7, 'one … rest'),
        (7, 'the other'),
        (10, 'not …'),
        (11, 'said'),
        (13, '…: ended'),
    ]


def test_messages_of_a_shell_are_found() -> None:
    source = """
reason() { echo "$1 is no $("$venv/bin/python" -V)"; }
fail "$((free / 1024)) MiB${why}: free some"  # fail
echo 'PORT (29500)' >&2
"""
    found = [(line, text.replace(HOLE, '…')) for line, text in shell_messages(source)]
    assert found == [(2, '… is no …'), (3, '… MiB…: free some'), (4, 'PORT (29500)')]


@pytest.mark.parametrize(
    ('span', 'fits'),
    [
        ('form … is not known; choose one of …', True),
        ('form … is not known; choose', False),  # not the whole of the longest part
        ('part … is not known; choose one of …', False),  # another message
        ('is not known; choose one of … form', False),  # another order
    ],
)
def test_what_a_span_fits(span: str, fits: bool) -> None:
    assert is_shortened(span, f'form {HOLE} is not known; choose one of {HOLE}') is fits


def test_spans_are_found() -> None:
    assert spans('| `one \\| two`, `three` | `four` |\n`') == ['one | two', 'three', 'four']
