"""Report on a data set on disk: groups of problems and how to fix each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vil_mm.datasets.checks.known_sets import KnownSet

SHOWN = 5  # names printed per group

COPY_AGAIN = 'copy or unpack them again from the archive, then check its size or checksum'
FIXES = {
    'wrong folder': 'use the folder named above for --check and in the config',
    'missing folders': 'unpack the whole archive; docs/datasets.md shows the tree',
    'unexpected folders': 'files in them are not read, or count as separate classes: move the '
    'files to where docs/datasets.md shows them, or move the folder out of the set',
    'unsorted files': 'move them into the folders that docs/datasets.md shows',
    'wrong numbers of files': 'unpack the whole archive, remove what does not belong to it; '
    'for a deliberate subset add --any-count',
    'links that lead nowhere': 'recreate the links, or mount the disk they point to',
    'images without annotation': 'add annotations with these names, or remove the images',
    'annotations without image': 'add images with these names, or remove the annotations',
    'annotations to convert': 'convert them as described in docs/datasets.md',
    'empty files': COPY_AGAIN,
    'unreadable files': f'{COPY_AGAIN}; "Permission denied" asks for read rights instead',
    'sizes': 'take image and annotation from the same archive; if annotations were scaled down, '
    'recreate them at the size of the image (nearest neighbour)',
    'palette annotations': 'mmsegmentation reads palette indices, other programs palette '
    'colours; keep only the indices: `Image.fromarray(numpy.array(Image.open(file))).save(file)`',
    'colour annotations': 'a pixel has to hold the number of its class: replace each colour by '
    'its number and save one channel of 8 bits',
    'annotations not of 8 bits': 'save them as single-channel 8-bit PNG (mode L in Pillow) with '
    'the class number as the value, not scaled',
    'label values': 'convert the annotations as described in docs/datasets.md',
}
NOTES = {
    'other files': 'not read and not counted; remove them if they are left over from unpacking',
    'lists of images': 'if there is a list, mmpretrain reads it instead of folder names: remove '
    'it, unless it matches the files',
}


@dataclass
class Group:
    """Findings of one kind: their number and the first names."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < SHOWN:
            self.names.append(name)

    def lines(self) -> list[str]:
        more = self.count - len(self.names)
        return [f'    {name}' for name in self.names] + ([f'    and {more:,} more'] if more else [])


@dataclass
class TreeReport:
    """Findings about a tree; ``text`` formats them."""

    known: KnownSet
    root: Path
    quick: bool
    counts: dict[str, int] = field(default_factory=dict)
    num_read: int = 0
    groups: dict[str, Group] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        self.groups.setdefault(kind, Group()).add(name)

    @property
    def problems(self) -> dict[str, Group]:
        return {kind: group for kind, group in self.groups.items() if kind not in NOTES}

    def fix(self, kind: str) -> str:
        return self.known.fixes.get(kind) or {**FIXES, **NOTES}[kind]

    def text(self) -> str:
        """Problems, then notes, then file counts and a summary line."""
        lines = []
        ordered = sorted(self.groups.items(), key=lambda item: item[0] in NOTES)
        for kind, group in ordered:
            head, advice = ('note: ', 'about it') if kind in NOTES else ('', 'to fix')
            lines += [f'{head}{kind}: {group.count:,}', *group.lines()]
            lines += [f'  {advice}: {self.fix(kind)}', '']
        lines += [f'{folder}: {count:,} files' for folder, count in self.counts.items()]
        return '\n'.join([*lines, self._summary()])

    def _summary(self) -> str:
        how = 'read headers and ends of' if self.quick else 'decoded'
        found = [f'{group.count:,} {kind}' for kind, group in self.problems.items()]
        result = 'PROBLEMS: ' + ', '.join(found) if found else 'no problems'
        return f'{self.known.title} in {self.root}: {result} ({how} {self.num_read:,} files)'
