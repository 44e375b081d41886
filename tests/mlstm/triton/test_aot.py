"""Every fused kernel, compiled ahead of time: it fits the GPU's registers and shared memory.

Kernels that are compiled must not have been imported to be interpreted, as in these tests: the
benchmark that lists them runs as a command of its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('triton')

COMMAND = Path(__file__).resolve().parents[3] / 'benchmarks' / 'kernels.py'
CELL = {
    'prepare_gates',
    'states',
    'outputs',
    'prepare_rows',
    'value_gradients',
    'query_key_gradients',
    'gate_gradients',
}
LAYERS = {'forward', 'backward', 'backward_activation', 'backward_input'}
ON_MATRIX_CORES = {'outputs', 'value_gradients', 'query_key_gradients'}
OLD_TRITON = tuple(map(int, importlib.metadata.version('triton').split('.')[:2])) < (3, 9)


def compiled(out: Path, *options: str) -> list[dict]:
    """The command's rows."""
    environment = {key: x for key, x in os.environ.items() if key != 'TRITON_INTERPRET'}
    command = [sys.executable, str(COMMAND), '--out', str(out), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((out / 'kernels.json').read_text())['rows']


def check(rows: list[dict]) -> None:
    """What holds for every kernel of the models."""
    assert {row['kernel'] for row in rows if row['part'] == 'cell'} == CELL
    assert {row['kernel'] for row in rows if row['part'] == 'layers'} == LAYERS
    for row in rows:
        assert 'reason' not in row, row
        assert row['registers'] <= row['registers_limit'], row
        assert row['shared_KiB'] <= row['shared_limit_KiB'], row
        assert row['spilled'] <= allowed(row), row
        if (row['capability'], row['dtype']) == (90, 'bfloat16') and row['part'] == 'cell':
            assert row['wgmma'] > 0 or row['kernel'] not in ON_MATRIX_CORES, row


def allowed(row: dict) -> int:
    """Bytes a thread that may be spilled: none, with one exception."""
    if OLD_TRITON and row['part'] == 'layers':
        return 128  # 3.6 spills a little in three launches, in float32 or with the 1-D convolution
    return 0


def test_models_t_and_b_on_hopper(tmp_path) -> None:
    options = ('--capabilities', '90', '--dtypes', 'bfloat16', '--widths', '96', '384')
    rows = compiled(tmp_path, *options, '--lengths', '4096', '--states', 'own')
    assert {row['width'] for row in rows} == {None, 96, 384}
    assert {row['states'] for row in rows} == {None, 'bfloat16'}
    check(rows)


@pytest.mark.slow
def test_all_models_on_hopper_and_ampere(tmp_path) -> None:
    rows = compiled(tmp_path)
    assert {row['width'] for row in rows} == {None, 96, 192, 384, 512}
    for capability in (90, 80):
        check([row for row in rows if row['capability'] == capability])
    shapes = {(row['capability'], row['dtype'], row['states']) for row in rows}
    assert {(90, 'bfloat16', 'float32'), (80, 'float32', 'float32')} <= shapes


@pytest.mark.slow
def test_interpreted_kernels_are_refused(tmp_path) -> None:
    environment = {**os.environ, 'TRITON_INTERPRET': '1'}
    command = [sys.executable, str(COMMAND), '--out', str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and 'TRITON_INTERPRET' in done.stderr
    assert not list(tmp_path.iterdir())
