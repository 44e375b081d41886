"""Values of ``--cfg-options KEY=VALUE``, from text."""

from __future__ import annotations

import ast
import warnings

PAIRS = {'(': ')', '[': ']', '{': '}'}
WORDS = {'true': True, 'false': False}


def read_value(text: str) -> object:
    """A value as Python writes it, or as mmengine's tools take it.

    Python: numbers, None, True, quoted strings, lists, tuples, dicts, also as ``dict(key=1)``, and
    one in another. mmengine: ``1,2`` is a list, ``[a, b]`` needs no quotes, ``true`` is True, and
    all other text is a string.

    Raises:
        ValueError: A bracket or quote does not close, or something in a dict is no value.
    """
    text = text.strip()
    try:
        tree = _parse(text)
        value = _literal(tree)
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        if text.startswith(('{', 'dict(')):
            raise ValueError(f'{text} is no dict: {_reason(error)}; {_HOW}') from error
        return _words(text)
    bare = isinstance(tree, ast.Tuple) and tree.elts and tree.elts[0].col_offset == tree.col_offset
    return list(value) if bare else value


_HOW = 'write "dict(key=1, name=\'text\')", the whole in quotes for the shell'


def _parse(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of backslashes in regular expressions
        return ast.parse(text, mode='eval').body


def _reason(error: Exception) -> str:
    """Its first line; of Python's parser without the place in the text."""
    return (getattr(error, 'msg', None) or str(error) or type(error).__name__).splitlines()[0]


def _literal(node: ast.expr) -> object:
    """The value of an expression that computes nothing.

    Raises:
        ValueError: It is none.
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
    """Like :func:`_literal`; in brackets a single word may stand without quotes, as in mmengine."""
    if isinstance(node, ast.Name):
        return WORDS.get(node.id.lower(), node.id)
    return _literal(node)


def _words(text: str) -> object:
    """mmengine's forms: words without quotes, alone, with commas between them or in brackets."""
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
    """Where the bracket closes that the text begins with."""
    return next(i for i, depth in _depths(text) if depth == 0)


def _split(text: str) -> list[str]:
    """Parts between the commas that are in no bracket and no quotes."""
    ends = [i for i, depth in _depths(text) if depth == 0 and text[i] == ',']
    starts = [0, *(end + 1 for end in ends)]
    parts = [text[a:b] for a, b in zip(starts, [*ends, len(text)], strict=True)]
    return parts if parts[-1].strip() else parts[:-1]  # a comma may stand at the end


def _depths(text: str) -> list[tuple[int, int]]:
    """How many brackets and quotes are open after each character, as (place, depth).

    Raises:
        ValueError: One does not close, or closes what was not open.
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
            open_.append(sign)  # not the apostrophe of a word
        elif sign in PAIRS.values():
            raise ValueError(f'{text} has a {sign} too many')
        depths.append((i, len(open_)))
    if open_:
        raise ValueError(f'{text} lacks a closing {open_[-1]}')
    return depths
