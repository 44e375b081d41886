"""Each benchmark's command at its smallest: what it writes, and that a failure becomes a row."""

from __future__ import annotations

import csv
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a benchmark on the CPU in this process; returns machine and rows of its JSON."""

    def run(
        script: str, *options: str, name: str = '', compiler=lambda model: model
    ) -> tuple[dict, list[dict]]:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        fixed = ['--device', 'cpu', '--seconds', '0.01', '--out', str(tmp_path)]
        monkeypatch.setattr(sys, 'argv', [f'{script}.py', *fixed, *options])
        monkeypatch.setattr(torch, 'compile', compiler)
        threads, tuned = torch.get_num_threads(), torch.backends.cudnn.benchmark
        try:
            runpy.run_path(str(BENCHMARKS / f'{script}.py'), run_name='__main__')
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = tuned
        written = tmp_path / f'{name or script}_cpu.json'
        with written.with_suffix('.csv').open() as file:
            lines = list(csv.DictReader(file))
        found = json.loads(written.read_text())
        assert len(lines) == len(found['rows'])
        assert {line['commit'] for line in lines} == {found['machine']['commit'] or ''}
        return found['machine'], found['rows']

    return run


@pytest.mark.slow
def test_mlstm(run, tmp_path, capsys) -> None:
    machine, rows = run('mlstm', '--lengths', '16', '70')
    assert {'device', 'torch', 'triton', 'python', 'cuda', 'date', 'commit', 'driver'} <= set(
        machine
    )
    assert len(rows) == 2 * 2 * 3  # lengths, modes, backends
    for row in rows:
        assert 'reason' not in row, row
        assert row['ms'] > 0 and row['bound_ms'] > 0 and row['peak_MiB'] >= 0
        assert 0 < row['error'] < 1e-5
        assert 'of_bound' not in row  # says nothing of a CPU
        assert row.get('sdpa') == ('flash' if row['backend'] == 'sdpa_flash' else None)
    said = capsys.readouterr().out
    for name in ('sdpa_cudnn', 'mlstm_kernels', 'simple_gla', 'rwkv7', 'mamba2', 'triton'):
        assert f'skipped {name}: ' in said


def test_fused_form_is_never_another(monkeypatch) -> None:
    """Where its kernels cannot run, neither 'triton' runs chunkwise under its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mlstm as benchmark

    assert benchmark.fused_cannot_run('cpu') == 'needs a GPU'
    cell = benchmark.cell_inputs((1, 5, 2, 12), {'device': 'cpu', 'dtype': torch.float64})
    for backend in benchmark.FUSED:
        with pytest.raises(RuntimeError, match='float64'):
            benchmark.own_backend(backend, cell)
        narrow = [x.float() for x in cell]
        with pytest.raises(RuntimeError, match=r'multiple of 16|CUDA'):
            benchmark.own_backend(backend, narrow)


def test_scan_orders(run) -> None:
    machine, rows = run('scan_orders', '--sides', '6')
    assert machine['threads'] == 1
    assert [row['order'] for row in rows] == 2 * [
        'rows',
        'rows reversed',
        'columns',
        'columns reversed',
    ]
    for rowwise, column in [(0, 2), (1, 3), (4, 6), (5, 7)]:
        assert 'reason' not in rows[column], rows[column]
        ratio = rows[column]['ms'] / rows[rowwise]['ms']
        assert rows[column]['over_rows'] == pytest.approx(ratio)


def test_scan_orders_read_what_they_say(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scan_orders

    from vil_mm.mlstm import mlstm

    q, k, v, igate, fgate = scan_orders.cell_inputs((1, 3, 4, 2, 8), {'device': 'cpu'})
    cell = [q, k, v, igate, fgate]
    flat = [x.transpose(1, 2).flatten(1, 2) for x in cell]
    for order in ('columns', 'columns reversed'):
        h, *gradients = scan_orders.scan(order, 'chunkwise', cell, 'forward+backward')()
        expected = mlstm(*flat, reverse=order != 'columns', backend='recurrent')
        torch.testing.assert_close(h.transpose(1, 2).flatten(1, 2), expected)
        assert [x.shape for x in gradients] == [x.shape for x in cell]


@pytest.mark.slow
def test_mlstm_draws(run, tmp_path) -> None:
    pytest.importorskip('matplotlib')
    run('mlstm', '--lengths', '16')
    assert len(list(tmp_path.glob('mlstm_cpu_*.png'))) == 2


def test_a_case_that_does_not_fit_is_a_row(run, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measure

    monkeypatch.setattr(measure, 'total_memory', lambda device: 1e5)
    _, rows = run('mlstm', '--lengths', '70')
    by_backend = {row['backend']: row for row in rows if row['mode'] == 'forward'}
    assert by_backend['parallel']['reason'].startswith('MemoryError')
    assert 'ms' not in by_backend['parallel'] and by_backend['chunkwise']['ms'] > 0


@pytest.mark.slow
def test_backbone(run) -> None:
    options = ('--sizes', 'tiny', '--pixels', '32', '--modes', 'inference', 'training')
    _, rows = run('backbone', *options, '--run', 'eager', '--peers', 'ViT', 'DeiT-III')
    assert [row['model'] for row in rows] == 2 * ['ViL', 'ViT', 'DeiT-III']
    for row in rows:
        assert 'reason' not in row, row
        assert row['images_per_s'] == pytest.approx(1e3 * row['batch'] / row['ms'])
        assert row['bound_ms'] > 0
    assert [row.get('sdpa') for row in rows] == 2 * [None, 'flash', 'flash']
    assert rows[1]['time_over_ViT'] == 1
    assert rows[0]['time_over_ViT'] == pytest.approx(rows[0]['ms'] / rows[1]['ms'])


@pytest.mark.slow
def test_backbone_traversal_table(run) -> None:
    options = ('--table', 'traversal', '--pixels', '32', '--modes', 'inference')
    options += ('--run', 'eager', 'compile')
    _, rows = run('backbone', *options, name='backbone_traversal')
    assert [row['model'] for row in rows] == 2 * ['alternating', 'alternating_quad']
    assert [row['time_over_alternating'] > 0 for row in rows] == 4 * [True]
    assert ['first_call_s' in row for row in rows] == [False, False, True, True]


def test_a_model_that_does_not_compile_is_a_row(run, monkeypatch) -> None:
    def refuse(model: torch.nn.Module):
        def call(*inputs: torch.Tensor) -> torch.Tensor:
            raise torch._dynamo.exc.Unsupported('no graph for this')

        return call

    options = ('--sizes', 'tiny', '--pixels', '32', '--modes', 'inference')
    options += ('--run', 'compile', 'blocks')
    _, rows = run('backbone', *options, compiler=refuse)
    assert len(rows) == 4  # of ViL and ViT
    for row in rows:
        assert 'no graph for this' in row['reason'] and 'ms' not in row


@pytest.mark.slow
def test_backbone_paper_table(run) -> None:
    options = ('--table', 'paper', '--pixels', '32', '--run', 'compile')
    _, rows = run('backbone', *options, name='backbone_paper')
    assert {(row['mode'], row['run']) for row in rows} == {('training', 'compile')}
    assert {'alternating', 'quad', 'alternating_quad'} <= {row['model'] for row in rows}
    assert all(row['time_over_alternating'] > 0 for row in rows)


@pytest.mark.slow
def test_upernet(run) -> None:
    _, rows = run('upernet', '--sizes', 'tiny', '--pixels', '64', '--batch', '1')
    assert [row['mode'] for row in rows] == ['training', 'inference']
    for row in rows:
        assert 'reason' not in row, row
        assert row['ms_per_image'] > 0 and row['backbone_bound_ms'] > 0


def test_upernet_that_cannot_run_is_a_row(run) -> None:
    _, rows = run('upernet', '--sizes', 'tiny', '--pixels', '0', '--modes', 'inference')
    assert rows[0]['reason'] and 'ms' not in rows[0]


def test_suite_ends_within_20_minutes() -> None:
    suite = (BENCHMARKS / 'gpu_suite.sh').read_text()
    limits = [int(limit) for limit in re.findall(r'^part \w+ (\d+) ', suite, re.MULTILINE)]
    grace = int(re.search(r'--kill-after=(\d+)', suite)[1])
    assert len(limits) == 7
    assert sum(limits) + grace * len(limits) < 1200


def test_suite_survives_failing_parts(tmp_path) -> None:
    """With a Python that fails at everything but the first part."""
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\ncase "$1" in -c) echo a device ;; *) exit 3 ;; esac\n')
    python.chmod(0o755)
    out = tmp_path / 'out'
    command = ['bash', str(BENCHMARKS / 'gpu_suite.sh'), str(out), str(python)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    lines = (out / 'summary.txt').read_text().splitlines()
    assert [line.split()[0] for line in lines] == [
        'device',
        'tests',
        'mlstm',
        'orders',
        'backbone',
        'traversal',
        'upernet',
    ]
    assert [line.split()[1] for line in lines] == ['ok'] + 6 * ['failed']
    assert (out / 'device.log').read_text() == 'a device\n'
