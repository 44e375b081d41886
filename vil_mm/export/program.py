"""Files of a model: PyTorch's exported program, and ONNX."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from vil_mm.errors import ArgumentError
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
        raise ArgumentError(
            f'needs {", ".join(missing)}: pip install {" ".join(missing)}', format=format
        )


def export_program(model: nn.Module, shape: tuple[int, int]) -> ExportedProgram:
    """A program of images of one size, any number of them.

    Args:
        model: Of :func:`vil_mm.export.deployed.deployed`.
        shape: (H, W). It is fixed in the program: the grid decides the position embedding, the
            form of the mLSTM and its chunks.

    Raises:
        ValueError: The model cannot be traced.
    """
    batch = Dim('batch', min=1, max=LARGEST_BATCH)
    images = model.example(2, shape)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(model, (images,), dynamic_shapes=({0: batch},))
    except Exception as error:  # whatever the model's own code meets while it is traced
        raise ValueError(
            f'torch.export cannot trace this model: {_reason(error)}. Its code must not depend on '
            'how many images there are, nor on what they show; export another model, or change '
            'that code'
        ) from error


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write a ``.pt2`` that ``torch.export.load`` reads, in a process without this package too."""
    with quiet():
        torch.export.save(program, path)


def write_onnx(program: ExportedProgram, model: nn.Module, path: Path) -> None:
    """Write an ONNX file of opset :data:`OPSET`, weights inside, input 'images'.

    Raises:
        ValueError: The weights do not fit into one file, or an operator has no translation.
    """
    from vil_mm.export.cummax import onnx_cummax

    size = sum(x.numel() * x.element_size() for x in model.state_dict().values())
    if size >= LARGEST_ONNX:
        raise ValueError(f'{size / 2**30:.1f} GiB of weights: an ONNX file holds less than 2 GiB')
    options = {'opset_version': OPSET, 'verbose': False, 'input_names': ['images']}
    table = {torch.ops.aten.cummax.default: onnx_cummax}
    names = model.output_names()
    try:
        with quiet():
            onnx_program = torch.onnx.export(
                program, dynamo=True, output_names=names, custom_translation_table=table, **options
            )
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(
            f'PyTorch has no translation of this model to ONNX: {_reason(error)}; take --format '
            'torch-export'
        ) from error
    onnx_program.model.producer_name, onnx_program.model.producer_version = 'vil_mm', __version__
    onnx_program.model.metadata_props['images'] = model.takes
    onnx_program.save(path, external_data=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporter logs, warns of and prints, which is about its own insides.

    What is wrong is in the errors that it raises.
    """
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        nowhere = io.StringIO()
        with redirect_stdout(nowhere), redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)


def _reason(error: BaseException) -> str:
    """What was met at first, and in which line of code if that is told: out of pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    first = text.split('\n')[0].split('! For more')[0].split('. Failure message')[0].strip(' .')
    place = re.search(r'File "([^"]+)", line (\d+)', text)
    at = f' ({place[1]}, line {place[2]})' if place else ''
    return f'{type(error).__name__}: {first}{at}' if first else f'{type(error).__name__}{at}'
