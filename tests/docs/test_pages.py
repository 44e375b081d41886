"""What README and docs show runs, and prints what they say; ``stand_ins.py`` has the rules."""

from __future__ import annotations

import re

import pytest
from blocks import PAGES, ROOT, Block, blocks_of

RUNS = ('bash', 'python')
WITH_BLOCKS = [page for page in PAGES if any(b.language in RUNS for b in blocks_of(page))]
WITH_SLOW = [page for page in WITH_BLOCKS if any(b.mark == 'slow' for b in blocks_of(page))]
COMMON = ('command_line', 'option_values')  # options of several tools
_NUMBER = re.compile(r'(?<![A-Za-z_])[-+]?\d[\w.,+%-]*')


@pytest.mark.parametrize('page', PAGES)
def test_each_block_runs_or_says_why_not(page: str) -> None:
    before = ''
    for block in blocks_of(page):
        assert block.language in (*RUNS, 'text', 'bibtex'), f'{block}: a block of which language?'
        if block.language == 'text':
            assert block.mark in ('not run', 'output'), (
                f'{block}: say <!-- output --> if it is what the block before prints, else '
                '<!-- not run: REASON -->'
            )
        if block.mark == 'output':
            assert before != 'not run', f'{block}: the output of a block that is not run'
        if block.language in RUNS:
            before = block.mark


@pytest.mark.parametrize('page', PAGES)
def test_files_that_blocks_name_are_there(page: str) -> None:
    """Of blocks, too, that are not run."""
    own = {name for b in blocks_of(page) for name in re.findall(r'^# (configs/\S+)', b.code, re.M)}
    for block in blocks_of(page):
        for name in re.findall(
            r'(?<![\w/.$-])(?:tools|configs|benchmarks)/[\w/]+\.\w+', block.code
        ):
            assert name in own or (ROOT / name).exists(), f'{block}: there is no {name}'


@pytest.mark.parametrize('page', PAGES)
def test_options_that_pages_name_are_there(page: str) -> None:
    """Of commands in blocks and in running text, run or not."""
    shared = ''.join((ROOT / 'tools' / f'{x}.py').read_text() for x in COMMON)
    text = (ROOT / page).read_text().replace('\\\n', ' ')
    for tool, rest in re.findall(r'(?<!tests/)tools/(\w+\.py)([^`\n]*)', text):
        source = (ROOT / 'tools' / tool).read_text() + shared
        for option in re.findall(r'(?<![\w-])--[a-z][\w-]*', rest):
            known = f"'{option}'" in source or option == '--help'
            assert known, f'{page}: {tool} has no {option}'


@pytest.mark.parametrize('page', WITH_BLOCKS)
def test_blocks_run(page: str, desk) -> None:
    run_page(page, desk, left_out=('not run', 'slow'))


@pytest.mark.slow
@pytest.mark.parametrize('page', WITH_SLOW)
def test_all_blocks_run(page: str, desk) -> None:
    run_page(page, desk, left_out=('not run',))


def run_page(page: str, desk, left_out: tuple[str, ...]) -> None:
    """Commands and configs in their order, then Python, whose blocks are one program."""
    python, printed = [], None
    for block in blocks_of(page):
        if block.language in RUNS:
            printed = None
        if block.mark in left_out:
            continue
        if block.language == 'python' and not block.is_config:
            python.append(block)
        elif block.language in RUNS:
            printed = desk.run(block)
        elif block.mark == 'output' and printed is not None:
            check_output(block, printed)
    if python:
        desk.run_python(python)


def check_output(block: Block, printed: str) -> None:
    """Each line of the block is printed, in order, up to numbers; ... stands for anything."""
    pattern = r'.*?'.join(
        r'[^\n]*?'.join(map(re.escape, _in_general(line).split('...'))) + r'\n'
        for line in block.code.splitlines()
        if line.strip() != '...'
    )
    wanted = re.compile(pattern, re.DOTALL)
    assert wanted.search(_in_general(printed) + '\n'), (
        f'{block} is not what was printed:\n{printed}'
    )


def _in_general(text: str) -> str:
    lines = (re.sub(r'\s+', ' ', _NUMBER.sub('#', line)).strip() for line in text.splitlines())
    return '\n'.join(lines)


@pytest.mark.parametrize(
    ('shown', 'printed', 'same'),
    [
        ('a 1.5%  b\n...\nend 3', 'a 22.0% b\nmore\nend 4', True),
        ('torch 2.13.0 (...)', 'torch 2.14.0+cpu (torch)', True),
        ('total 3', 'sum 3', False),
        ('a\nb', 'b\na', False),
    ],
)
def test_outputs_are_compared_up_to_numbers(shown: str, printed: str, same: bool) -> None:
    block = Block('page.md', 1, 'text', shown, 'output')
    if same:
        check_output(block, printed)
    else:
        with pytest.raises(AssertionError, match='is not what was printed'):
            check_output(block, printed)
