"""Models as files for other programs: ONNX, and PyTorch's exported program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.export import ExportedProgram

from vil_mm.errors import ArgumentError
from vil_mm.export.check import (
    Difference,
    check_tolerance,
    compare,
    eager_run,
    onnx_run,
    program_run,
    seconds,
)
from vil_mm.export.deployed import PARTS, deployed, find_form
from vil_mm.export.program import (
    FORMATS,
    OPSET,
    SUFFIXES,
    check_packages,
    export_program,
    write_onnx,
    write_program,
)
from vil_mm.files import atomic_write

__all__ = [
    'FORMATS',
    'OPSET',
    'PARTS',
    'Report',
    'check_target',
    'deployed',
    'export',
    'find_form',
]


class Report(NamedTuple):
    """What an export gave.

    Attributes:
        path: The file.
        nodes: Operators in the file's graph.
        differences: From the model in eager mode, one an output.
        file_seconds, eager_seconds: For one image, median; on as many threads.
    """

    path: Path
    nodes: int
    differences: list[Difference]
    file_seconds: float
    eager_seconds: float


def check_target(out: str | Path, format: str) -> Path:
    """The path of a file to be written.

    Raises:
        ValueError: Its ending is not that of the format, or it is a folder.
    """
    path, suffix = Path(out), SUFFIXES[format]
    if path.suffix != suffix or path.is_dir():
        raise ArgumentError(f'expected the name of a file *{suffix}', out=out)
    return path


def export(
    model: nn.Module,
    out: str | Path,
    shape: tuple[int, int],
    *,
    part: str = 'whole',
    format: str = 'onnx',
    tolerance: float = 1e-4,
    say: Callable[[str], None] = lambda step: None,
) -> Report:
    """Write a model to a file and compare the file with the model, in batches of 1, 2 and 3.

    The file appears under its name only after it has passed.

    Args:
        model: A whole segmentor or classifier, float32, on a CPU, in evaluation mode.
        out: File to write, its folder is made.
        shape: (H, W) of the images, fixed in the file. The number of images is free.
        part: 'whole' or 'backbone'.
        format: 'onnx' or 'torch-export'.
        tolerance: Largest difference of an output, as a share of its largest value.
        say: Called with what is done next.

    Raises:
        ValueError: The model cannot be exported, packages are missing, or the file does not give
            what the model gives.
    """
    path = check_target(out, format)
    check_packages(format)
    function = deployed(model, part, shape)
    with atomic_write(path) as unfinished:
        say('tracing the model')
        program = export_program(function, shape)
        say(f'writing {format}')
        nodes = _write(program, function, unfinished, format)
        say('comparing with the model')
        threads = torch.get_num_threads()
        run = onnx_run(unfinished, threads) if format == 'onnx' else program_run(unfinished)
        differences = compare(run, function, shape)
        check_tolerance(differences, tolerance)
        images = function.example(1, shape)
        times = seconds(run, images), seconds(eager_run(function), images)
    return Report(path, nodes, differences, *times)


def _write(program: ExportedProgram, function: nn.Module, path: Path, format: str) -> int:
    """Write the file; the number of nodes in its graph comes back."""
    if format == 'torch-export':
        write_program(program, path)
        return sum(node.op == 'call_function' for node in program.graph.nodes)
    import onnx

    write_onnx(program, function, path)
    return len(onnx.load(path, load_external_data=False).graph.node)
