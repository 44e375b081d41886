"""The blocks of code that a page shows, and what the page's source says about each.

A comment right before a block may say

    <!-- not run: REASON -->   it cannot run in a test
    <!-- slow -->              it runs with the slow tests only
    <!-- output -->            (a `text` block) what the last block before it prints
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    'README.md',
    'benchmarks/README.md',
    *sorted(
        str(path.relative_to(ROOT))
        for folder in ('configs', 'docs')
        for path in (ROOT / folder).rglob('*.md')
    ),
]
_MARK = re.compile(r'<!-- (?:(not run): (.+?)|(slow|output)) -->\s*', re.DOTALL)


class Block(NamedTuple):
    """A fenced block: where its code begins, its language, and its mark with the reason."""

    page: str
    line: int
    language: str
    code: str
    mark: str = ''
    reason: str = ''

    def __str__(self) -> str:
        return f'{self.page}:{self.line}'

    @property
    def is_config(self) -> bool:
        """Whether a Python block is a config, or a part of one: it assigns, and only calls dict."""
        return self.language == 'python' and _only_assigns(self.code)


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, without MyST's directives, in order."""
    found, comment = [], ''
    for token in MarkdownIt().parse((ROOT / page).read_text()):
        if token.type == 'fence' and not token.info.startswith('{'):
            said = _MARK.fullmatch(comment)
            mark, reason = (said[1] or said[3], said[2] or '') if said else ('', '')
            found.append(Block(page, token.map[0] + 2, token.info, token.content, mark, reason))
        comment = token.content if token.type == 'html_block' else ''
    return found


def _only_assigns(code: str) -> bool:
    tree = ast.parse(code)
    called = {
        node.func.id if isinstance(node.func, ast.Name) else ''
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    return all(isinstance(line, ast.Assign) for line in tree.body) and called <= {'dict'}
