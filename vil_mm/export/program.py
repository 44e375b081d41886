"""Write a model as PyTorch's exported program or as ONNX."""

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
# The newest opset of the exporter. It has an operator for GELU, as in UPerNet's pyramid, and needs
# ONNX Runtime 1.17.
OPSET = 20
LARGEST_BATCH = 1024
LARGEST_ONNX = 2**31  # bytes in one file, protobuf's limit


def check_packages(format: str) -> None:
    """Fail if packages for a format are missing.

    Raises:
        ValueError: Names the packages.
    """
    needed = ('onnx', 'onnxscript', 'onnxruntime') if format == 'onnx' else ()
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ArgumentError(
            f'needs {", ".join(missing)}: pip install {" ".join(missing)}', format=format
        )


def export_program(model: nn.Module, shape: tuple[int, int]) -> ExportedProgram:
    """Trace a model for images of one size, in batches of any size.

    Args:
        model: From :func:`vil_mm.export.deployed.wrap_model`.
        shape: (H, W), fixed in the program: position embedding, mLSTM backend and chunks depend on
            the grid.

    Raises:
        ValueError: The model cannot be traced.
    """
    batch = Dim('batch', min=1, max=LARGEST_BATCH)
    images = model.example(2, shape)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(model, (images,), dynamic_shapes=({0: batch},))
    except Exception as error:  # the model's code may raise anything
        raise ValueError(
            f'torch.export cannot trace this model: {_reason(error)}. Its code must not depend on '
            'the batch size or on pixel values; change the code, or export another model'
        ) from error


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write a ``.pt2`` for ``torch.export.load``, which does not need this package."""
    with quiet():
        torch.export.save(program, path)


def write_onnx(program: ExportedProgram, model: nn.Module, path: Path) -> None:
    """Write an ONNX file of opset :data:`OPSET` that contains the weights; its input is 'images'.

    Raises:
        ValueError: The weights are too large for one file, or an operator is not supported.
    """
    from vil_mm.export.cummax import onnx_cummax

    size = sum(x.numel() * x.element_size() for x in model.state_dict().values())
    if size >= LARGEST_ONNX:
        raise ArgumentError(
            f'{size / 2**30:.1f} GiB of weights, but an ONNX file holds less than 2 GiB; use '
            'torch-export',
            format='onnx',
        )
    options = {'opset_version': OPSET, 'verbose': False, 'input_names': ['images']}
    table = {torch.ops.aten.cummax.default: onnx_cummax}
    names = model.output_names()
    try:
        with quiet():
            onnx_program = torch.onnx.export(
                program, dynamo=True, output_names=names, custom_translation_table=table, **options
            )
    except torch.onnx.OnnxExporterError as error:
        raise ArgumentError(
            f'PyTorch cannot convert this model: {_reason(error)}; use torch-export', format='onnx'
        ) from error
    onnx_program.model.producer_name, onnx_program.model.producer_version = 'vil_mm', __version__
    onnx_program.model.metadata_props['images'] = model.takes
    onnx_program.save(path, external_data=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the exporter's logs, warnings and prints; its errors say what is wrong."""
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
    """The root cause and, if known, its line of code, without the pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    first = text.split('\n')[0].split('! For more')[0].split('. Failure message')[0].strip(' .')
    place = re.search(r'File "([^"]+)", line (\d+)', text)
    at = f' ({place[1]}, line {place[2]})' if place else ''
    return f'{type(error).__name__}: {first}{at}' if first else f'{type(error).__name__}{at}'
