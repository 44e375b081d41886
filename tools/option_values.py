"""Parse the values of ``--cfg-options KEY=VALUE``."""

from __future__ import annotations

import ast
import warnings

PAIRS = {'(': ')', '[': ']', '{': '}'}
WORDS = {'true': True, 'false': False}


def read_value(text: str) -> object:
    """Parse a value in the syntax of Python or of mmengine's tools.

    Python: numbers, None, True, quoted strings, lists, tuples and dicts (also ``dict(key=1)``),
    nested as well. mmengine: ``1,2`` is a list, ``[a, b]`` needs no quotes, ``true`` is True, and
    any other text is a string.

    Raises:
        ValueError: A bracket or quote is not closed, or a dict contains an invalid value.
    """
    text = text.strip()
    try:
        tree = _parse(text)
        value = _literal(tree)
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        if text.startswith(('{', 'dict(')):
            raise ValueError(f'{text} is not a dict: {_reason(error)}; {_HOW}') from error
        return _words(text)
    bare = isinstance(tree, ast.Tuple) and tree.elts and tree.elts[0].col_offset == tree.col_offset
    return list(value) if bare else value


_HOW = 'write "dict(key=1, name=\'text\')", in quotes for the shell'


def _parse(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # about backslashes in regular expressions
        return ast.parse(text, mode='eval').body


def _reason(error: Exception) -> str:
    """The first line of an error, without the position that Python's parser adds."""
    return (getattr(error, 'msg', None) or str(error) or type(error).__name__).splitlines()[0]


def _literal(node: ast.expr) -> object:
    """The value of a literal expression.

    Raises:
        ValueError: The expression is not a literal.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _literal(node.operand)
        if type(value) in (int, float):
            return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.List):
        return [_element(x) for x in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_element(x) for x in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        pairs = zip(node.keys, node.values, strict=True)
        return {_element(key): _element(value) for key, value in pairs}
    if _is_dict_call(node):
        return {pair.arg: _element(pair.value) for pair in node.keywords}
    raise ValueError(f'{ast.unparse(node)} is neither a number nor a quoted string')


def _is_dict_call(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and not node.args
        and all(pair.arg for pair in node.keywords)
    )


def _element(node: ast.expr) -> object:
    """Like :func:`_literal`, but a word needs no quotes, as in mmengine."""
    if isinstance(node, ast.Name):
        return WORDS.get(node.id.lower(), node.id)
    return _literal(node)


def _words(text: str) -> object:
    """Parse mmengine's syntax: words without quotes, alone, comma-separated or in brackets."""
    kind = {'(': tuple, '[': list}.get(text[:1])
    if kind and _closing(text) == len(text) - 1:
        return kind(read_value(part) for part in _split(text[1:-1]))
    if kind or ',' in text:
        parts = _split(text)
        if len(parts) > 1 or text.endswith(','):
            return [read_value(part) for part in parts]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return WORDS.get(text.lower(), text)


def _closing(text: str) -> int:
    """Index of the bracket that closes the first one."""
    return next(i for i, depth in _depths(text) if depth == 0)


def _split(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes."""
    ends = [i for i, depth in _depths(text) if depth == 0 and text[i] == ',']
    starts = [0, *(end + 1 for end in ends)]
    parts = [text[a:b] for a, b in zip(starts, [*ends, len(text)], strict=True)]
    return parts if parts[-1].strip() else parts[:-1]  # a trailing comma is allowed


def _depths(text: str) -> list[tuple[int, int]]:
    """Number of open brackets and quotes after each character, as (index, depth).

    Raises:
        ValueError: They are not balanced.
    """
    open_, depths = [], []
    for i, sign in enumerate(text):
        if open_ and sign == open_[-1]:
            open_.pop()
        elif open_ and open_[-1] in '"\'':
            pass
        elif sign in PAIRS:
            open_.append(PAIRS[sign])
        elif sign in '"\'' and not text[:i].rstrip(' ')[-1:].isalnum():
            open_.append(sign)  # not an apostrophe in a word
        elif sign in PAIRS.values():
            raise ValueError(f'{text} has an unmatched {sign}')
        depths.append((i, len(open_)))
    if open_:
        raise ValueError(f'{text} lacks a closing {open_[-1]}')
    return depths
