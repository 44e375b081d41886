"""Running tools in the process of a test."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.visualization import Visualizer

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
sys.path.append(str(TOOLS))  # for command_line; last, because tools are called test, export, ...


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Runs a tool's main function in this process: importing the stack takes most of a run."""

    def run(tool: str, *args: str | Path) -> None:
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        forget_visualizers(Visualizer)
        runpy.run_path(str(TOOLS / tool), run_name='__main__')

    return run


def forget_visualizers(kind: type[Visualizer]) -> None:
    """mmengine keeps one a name for a whole process, and with it the folder of an earlier run."""
    kind._instance_dict.clear()
    for heir in kind.__subclasses__():
        forget_visualizers(heir)
