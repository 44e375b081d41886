"""Files of a model: PyTorch's exported program, and ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from vil_mm.version import __version__

FORMATS = ('onnx', 'torch-export')
SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
# The newest that the exporter writes by itself. From 20 on GELU, of which the pyramid of UperNet
# has one, is an operator; ONNX Runtime reads it from 1.17 on.
OPSET = 20
LARGEST_BATCH = 1024
LARGEST_ONNX = 2**31  # bytes, of one file: protobuf's limit


def check_packages(format: str) -> None:
    """Fail if a format needs packages that are not there.

    Raises:
        ValueError: Names them.
    """
    needed = ('onnx', 'onnxscript', 'onnxruntime') if format == 'onnx' else ()
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ValueError(
            f'--format onnx needs {", ".join(missing)}: pip install {" ".join(missing)}'
        )


def export_program(model: nn.Module, shape: tuple[int, int]) -> ExportedProgram:
    """A program of images of one size, any number of them.

    Args:
        model: Of :func:`vil_mm.export.deployed.deployed`.
        shape: (H, W). It is fixed in the program: the grid decides the position embedding, the
            form of the mLSTM and its chunks.
    """
    batch = Dim('batch', min=1, max=LARGEST_BATCH)
    with torch.no_grad(), quiet():
        return torch.export.export(model, (model.example(2, shape),), dynamic_shapes=({0: batch},))


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write a ``.pt2`` that ``torch.export.load`` reads, in a process without this package too."""
    with quiet():
        torch.export.save(program, path)


def write_onnx(program: ExportedProgram, model: nn.Module, path: Path) -> None:
    """Write an ONNX file of opset :data:`OPSET`, weights inside, input 'images'.

    Raises:
        ValueError: The weights do not fit into one file.
    """
    from vil_mm.export.cummax import onnx_cummax

    size = sum(x.numel() * x.element_size() for x in model.state_dict().values())
    if size >= LARGEST_ONNX:
        raise ValueError(f'{size / 2**30:.1f} GiB of weights: an ONNX file holds less than 2 GiB')
    with quiet():
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=['images'],
            output_names=model.output_names(),
            custom_translation_table={torch.ops.aten.cummax.default: onnx_cummax},
            verbose=False,
        )
    onnx_program.model.producer_name, onnx_program.model.producer_version = 'vil_mm', __version__
    onnx_program.model.metadata_props['images'] = model.takes
    onnx_program.save(path, external_data=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's warnings and progress, which are about its own insides."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'onnxscript', 'onnx_ir')]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
