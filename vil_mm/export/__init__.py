"""Export models to ONNX or as PyTorch's exported program."""

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
    measure_seconds,
    onnx_run,
    program_run,
)
from vil_mm.export.deployed import PARTS, find_backend, wrap_model
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
    'export',
    'find_backend',
    'wrap_model',
]


class Report(NamedTuple):
    """The result of an export.

    Attributes:
        path: The file.
        nodes: Operators in the file's graph.
        differences: Difference of each output from the model in eager mode.
        file_seconds, eager_seconds: Median time for one image, with the same number of threads.
    """

    path: Path
    nodes: int
    differences: list[Difference]
    file_seconds: float
    eager_seconds: float


def check_target(out: str | Path, format: str) -> Path:
    """Check the path of the file to write.

    Raises:
        ValueError: The suffix does not match the format, or the path is a folder.
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

    The file appears only if it passes.

    Args:
        model: A whole segmentor or classifier, float32, on a CPU, in evaluation mode.
        out: File to write; its folder is created.
        shape: (H, W) of the images, fixed in the file. The batch size is free.
        part: 'whole' or 'backbone'.
        format: 'onnx' or 'torch-export'.
        tolerance: Largest difference of an output, relative to its largest value.
        say: Called with the name of each step.

    Raises:
        ValueError: The model cannot be exported, packages are missing, or the file computes
            something else than the model.
    """
    path = check_target(out, format)
    check_packages(format)
    function = wrap_model(model, part, shape)
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
        times = measure_seconds(run, images), measure_seconds(eager_run(function), images)
    return Report(path, nodes, differences, *times)


def _write(program: ExportedProgram, function: nn.Module, path: Path, format: str) -> int:
    """Write the file and return the number of nodes in its graph."""
    if format == 'torch-export':
        write_program(program, path)
        return sum(node.op == 'call_function' for node in program.graph.nodes)
    import onnx

    write_onnx(program, function, path)
    return len(onnx.load(path, load_external_data=False).graph.node)
