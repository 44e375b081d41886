"""Check mmsegmentation's split lists: text files with one image name per line, without suffix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vil_mm.datasets.checks.findings import Finding
from vil_mm.datasets.checks.parts import Part

BOM = '\ufeff'  # Windows editors put it at the start of a file


def check_list(part: Part) -> Iterator[Finding]:
    """Find lines that do not name an image as the data set reads them; CRLF endings are fine."""
    seen: dict[str, int] = {}
    lines = Path(part.ann_file).read_text(encoding='utf-8').split('\n')
    if lines[-1] == '':  # after the final newline
        lines.pop()
    for number, line in enumerate(lines, 1):
        at, name = f'{part.ann_file}, line {number}', line.strip()
        fault = _fault(name, part)
        if fault:
            yield Finding('split list', f'{at}: {fault[0]}', fault[1])
        elif name in seen:
            yield Finding(
                'repeated lines',
                f'{at}: {name!r} is also on line {seen[name]}',
                'remove one of them, unless the image is to count twice',
                fatal=False,
            )
        seen.setdefault(name, number)


def _fault(name: str, part: Part) -> tuple[str, str] | None:
    """What is wrong with a line and how to fix it."""
    suffix = part.img_suffix or ''
    if not name:
        return 'a blank line, which would be read as an image', 'remove it'
    if name.startswith(BOM):
        return 'begins with a byte order mark', 'save the file as UTF-8 without it'
    if _is_there(part, name):
        return None
    if len(name.split()) > 1:
        return f'{name!r} has several columns', 'write the name of the image alone'
    for end in (suffix, part.seg_map_suffix or ''):
        if end and name.lower().endswith(end.lower()):
            bare = _within(part, name[: -len(end)])
            return (
                f'{name!r} has a suffix, and img_suffix={suffix!r} is added to it',
                f'write {bare!r}',
            )
    inside = _within(part, name)
    if inside != name:
        return (
            f'{name!r} names folders, and {part.folder("img_path")} before it',
            f'write {inside!r}',
        )
    return None


def _within(part: Part, name: str) -> str:
    """The name without leading folders if that names an image, else unchanged."""
    parts = Path(name).parts
    ends = ('/'.join(parts[i:]) for i in range(1, len(parts)))
    return next((end for end in ends if _is_there(part, end)), name)


def _is_there(part: Part, name: str) -> bool:
    return Path(part.folder('img_path'), f'{name}{part.img_suffix}').is_file()
