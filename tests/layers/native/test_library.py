"""Building and loading: what is missing, stale or foreign costs one line and never crashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vil_mm.__main__ import main
from vil_mm.layers.native import build, library

REPORT = 'from vil_mm.layers.native.library import load; print(load().instruction_set)'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder in place of that of the libraries."""
    monkeypatch.setattr(library, 'library_path', lambda name: build.library_path(name, tmp_path))
    library.load.cache_clear()
    yield tmp_path
    library.load.cache_clear()


def test_not_built(folder: Path) -> None:
    assert library.describe() == 'no, it is not built: run `python -m vil_mm --build-native`'


def test_no_library_at_all(folder: Path) -> None:
    for name in build.INSTRUCTION_SETS:
        build.library_path(name, folder).write_text('not a library')
    line = library.describe()
    assert 'does not load' in line and '--build-native' in line and '\n' not in line


def compile_to(folder: Path, source: str) -> None:
    code = folder / 'other.cpp'
    code.write_text(source)
    target = build.library_path('baseline', folder)
    command = [*build.find_compiler(), '-shared', '-fPIC', str(code), '-o', str(target)]
    subprocess.run(command, check=True)


def test_a_foreign_library(folder: Path) -> None:
    compile_to(folder, 'extern "C" int something() { return 1; }')
    assert 'does not load' in library.describe()


def test_a_library_of_other_sources(folder: Path) -> None:
    compile_to(
        folder,
        'extern "C" const char* vil_mm_source_digest() { return "older"; }\n'
        'extern "C" long vil_mm_scan_bytes() { return 8; }',
    )
    line = library.describe()
    assert 'was built from other sources' in line and '--build-native' in line


@pytest.mark.skipif('avx2' not in build.INSTRUCTION_SETS, reason='not an x86 processor')
@pytest.mark.parametrize(
    ('capability', 'wanted'),
    [('DEFAULT', ['baseline']), ('AVX2', ['avx2', 'baseline'])],
)
def test_no_instruction_that_the_processor_lacks(capability, wanted, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    assert library.usable_sets() == wanted


@pytest.mark.slow
@pytest.mark.skipif('avx2' not in build.INSTRUCTION_SETS, reason='not an x86 processor')
def test_every_instruction_set_gives_the_same() -> None:
    path = Path(__file__).with_name('test_scan.py')
    for capability, name in (('default', 'baseline'), ('avx2', 'avx2')):
        environment = os.environ | {'ATEN_CPU_CAPABILITY': capability}
        done = subprocess.run(
            [sys.executable, '-c', REPORT], env=environment, capture_output=True, text=True
        )
        assert done.stdout.split()[-1] == name
        command = [sys.executable, '-m', 'pytest', '-q', '-m', 'not slow', str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:]


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CXX', 'no-such-compiler -O2')
    with pytest.raises(build.BuildError, match=r"\$CXX is 'no-such-compiler', which is no command"):
        build.find_compiler()
    monkeypatch.delenv('CXX')
    monkeypatch.setattr(build, 'COMPILERS', ())
    with pytest.raises(build.BuildError, match='no C\\+\\+ compiler: install'):
        build.find_compiler()


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(build, 'FLAGS', ['-std=c++03', '-shared', '-fPIC'])
    with pytest.raises(build.BuildError, match=r'failed: .*error') as caught:
        build.build(tmp_path)
    assert '\n' not in str(caught.value) and not list(tmp_path.iterdir())
    monkeypatch.setattr(build, 'LIBRARIES', tmp_path / 'file' / 'lib')
    (tmp_path / 'file').touch()
    with pytest.raises(build.BuildError, match='cannot be written'):
        build.build(build.LIBRARIES)


def test_the_command_builds(monkeypatch, capsys) -> None:
    monkeypatch.setattr(build, 'build', lambda: ['avx2', 'baseline'])
    monkeypatch.setattr(sys, 'argv', ['vil-mm', '--build-native'])
    main()
    assert capsys.readouterr().out.startswith('native scan built for avx2, baseline in ')

    def fail() -> None:
        raise build.BuildError('no C++ compiler: install one')

    monkeypatch.setattr(build, 'build', fail)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err == 'vil-mm: no C++ compiler: install one\n'


def test_out_of_memory_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        vil_mm_scan_forward = staticmethod(lambda arguments: status)

    monkeypatch.setattr(library, 'load', lambda: library.Loaded(Failing(), 'avx2', None))
    status = 1
    with pytest.raises(MemoryError):
        library.call('forward', library.Arguments())
    status = 2
    with pytest.raises(RuntimeError, match='threads'):
        library.call('forward', library.Arguments())


def test_threads_of_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch has no OpenMP, the library starts its own."""
    from vil_mm.layers import Scan
    from vil_mm.layers.traversal import ROWS

    scan, before = Scan(64, mlstm_backend='native'), torch.get_num_threads()
    x, z = torch.randn(2, 2, 5, 7, 64)
    try:
        torch.set_num_threads(3)
        with torch.no_grad():
            want = scan(x, z, ROWS)
            monkeypatch.setattr(library, 'parallel', lambda: None)
            assert torch.equal(scan(x, z, ROWS), want)
    finally:
        torch.set_num_threads(before)
