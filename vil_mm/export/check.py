"""Compare an exported file with its model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vil_mm.export.program import quiet

BATCH_SIZES = (1, 2, 3)
REPEATS = 5

Run = Callable[[Tensor], list[Tensor]]


class Difference(NamedTuple):
    """Difference between an output of the file and of the model, over all batches.

    Attributes:
        name: Name of the output.
        shape: Shape for one image.
        largest: Largest absolute difference.
        scale: Largest absolute value of the model's output.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    scale: float

    @property
    def relative(self) -> float:
        return self.largest / self.scale if self.scale else self.largest


def onnx_run(path: Path, threads: int) -> Run:
    """A function that runs an ONNX file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(x) for x in session.run(None, {'images': images.numpy()})]

    return run


def program_run(path: Path) -> Run:
    """A function that runs an exported program."""
    with quiet():
        module = torch.export.load(path).module()

    def run(images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(module(images))

    return run


def eager_run(model: nn.Module) -> Run:
    """A function that runs the model itself."""

    def run(images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(model(images))

    return run


def compare(run: Run, model: nn.Module, shape: tuple[int, int]) -> list[Difference]:
    """Run a file and the model on the same random images, in batches of several sizes.

    Raises:
        ValueError: An output has another shape.
    """
    eager = eager_run(model)
    found: dict[str, list[Difference]] = {name: [] for name in model.output_names()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for size in BATCH_SIZES:
            images = model.example(size, shape)
            for name, got, want in zip(found, run(images), eager(images), strict=True):
                if got.shape != want.shape:
                    raise ValueError(
                        f'{name} has the shape {tuple(got.shape)} in the file, but '
                        f'{tuple(want.shape)} in the model, for a batch of {size}: please report '
                        'it; nothing is written'
                    )
                largest = float((got - want).abs().max())
                scale = float(want.abs().max())
                found[name].append(Difference(name, tuple(want.shape[1:]), largest, scale))
    return [_worst(differences) for differences in found.values()]


def _worst(differences: Sequence[Difference]) -> Difference:
    first = differences[0]
    largest = max(x.largest for x in differences)  # NaN only if the first is, see check_tolerance
    if any(np.isnan(x.largest) for x in differences):
        largest = float('nan')
    return Difference(first.name, first.shape, largest, max(x.scale for x in differences))


def check_tolerance(differences: Sequence[Difference], tolerance: float) -> None:
    """Fail if an output differs by more than the tolerance, relative to its largest value.

    Raises:
        ValueError: Names the output.
    """
    for difference in differences:
        if not difference.relative <= tolerance:  # True for NaN
            raise ValueError(
                f'the file differs from the model: {difference.name} by {difference.largest:.1e}, '
                f'{difference.relative:.1e} of its largest value, more than the tolerance '
                f'{tolerance:g}; nothing is written'
            )


def measure_seconds(run: Run, images: Tensor) -> float:
    """Median time of a call, after a warm-up."""
    run(images)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - start)
    return float(np.median(times))
