"""Run tools and functions in this process, and classify how they end."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import runpy
import shutil
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.visualization import Visualizer
from running import TOOLS, forget_visualizers

LINE, TRACEBACK, ACCEPTED, CODE = 'one line', 'traceback', 'accepted', 'code run'


def run_tool(tool: str, *args: str | Path) -> None:
    """A tool's main function, as ``python tools/TOOL ARGS`` calls it."""
    forget_visualizers(Visualizer)
    sys.argv = [tool, *map(str, args)]
    runpy.run_path(str(TOOLS / tool), run_name='__main__')


@dataclass
class Trial:
    """Malformed files at entry points: how each ended, and the folder in which tools run.

    Attributes:
        folder: Current folder of the tools; files that they write are deleted after each.
        marker: A folder that the payloads of the files would make.
        outcomes: Of each file and entry point.
        details: What was printed.
    """

    folder: Path
    marker: Path
    outcomes: dict[tuple[str, str], str] = field(default_factory=dict)
    details: dict[tuple[str, str], str] = field(default_factory=dict)

    def run(self, file: str, entry: str, call: Callable[[], object], names: str = '') -> str:
        """Call an entry point with a file.

        Args:
            file: The file's kind and name.
            entry: Name of the entry point.
            call: Runs a tool or a function of the package.
            names: What the message must contain; by default nothing.
        """
        before = set(self.folder.iterdir())
        with _quiet() as screen:
            outcome, said = self._outcome(call, screen, names)
        if outcome == LINE and names not in said:
            outcome, said = TRACEBACK, f'does not name {names}: {said}'
        if self.marker.exists():
            self.marker.rmdir()
            outcome = CODE
        for path in set(self.folder.iterdir()) - before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.outcomes[file, entry], self.details[file, entry] = outcome, said[-4000:]
        return outcome

    def _outcome(
        self, call: Callable[[], object], screen: io.StringIO, names: str
    ) -> tuple[str, str]:
        with contextlib.chdir(self.folder):
            try:
                call()
            except SystemExit as stopped:
                said = screen.getvalue().strip()
                if not stopped.code:
                    return ACCEPTED, said
                named = any(x.startswith(f'{sys.argv[0]}: ') for x in said.splitlines())
                return (LINE if named and 'Traceback (most' not in said else TRACEBACK), said
            except (OSError, ValueError) as error:
                first = str(error).splitlines()[:1]
                if not sys.argv[0].endswith('.py') and names in ''.join(first):
                    return LINE, first[0]
                return TRACEBACK, traceback.format_exc()
            except Exception:
                return TRACEBACK, traceback.format_exc()
        return ACCEPTED, screen.getvalue()

    def count_files(self) -> Counter[str]:
        """Files by their worst outcome."""
        order = (LINE, ACCEPTED, TRACEBACK, CODE)
        worst: dict[str, str] = {}
        for (file, _), outcome in self.outcomes.items():
            worst[file] = max(worst.get(file, LINE), outcome, key=order.index)
        return Counter(worst.values())

    def table(self) -> str:
        """Counts by kind of file, and of all."""
        outcomes = (LINE, TRACEBACK, ACCEPTED, CODE)
        head = ''.join(f'{name:>11}' for name in ('runs', *outcomes))
        lines = [f'{"kind of file":<20}{"files":>7}{head}']
        kinds = dict.fromkeys(file.split('/')[0] for file, _ in self.outcomes)
        for kind in [*kinds, '']:
            of_kind = {key: x for key, x in self.outcomes.items() if key[0].startswith(kind)}
            counts, files = Counter(of_kind.values()), {file for file, _ in of_kind}
            row = ''.join(f'{n:>11}' for n in (len(of_kind), *(counts[x] for x in outcomes)))
            lines.append(f'{kind or "all":<20}{len(files):>7}{row}')
        return '\n'.join(lines)


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """Collect what is printed; restore the process's state."""
    screen, argv = io.StringIO(), list(sys.argv)
    sys.argv, os.environ['LOCAL_RANK'] = ['function'], '0'
    with (
        contextlib.redirect_stdout(screen),
        contextlib.redirect_stderr(screen),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter('ignore')
        try:
            yield screen
        finally:
            sys.argv = argv
            logging.disable(logging.NOTSET)
