"""Compile the native scan. Only the standard library: setup.py runs this file by its path."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / 'source'
LIBRARIES = Path(__file__).resolve().parent / 'lib'
COMPILERS = ('c++', 'g++', 'clang++')
FLAGS = [
    *('-std=c++17', '-O3', '-fPIC', '-shared', '-pthread', '-fvisibility=hidden'),
    *('-fno-math-errno', '-fno-trapping-math', '-ffp-contract=fast'),
]
# Instruction sets of this machine's kind of processor, the widest first: name -> compiler flags.
# Every processor of the kind runs the last one.
X86 = {
    'avx512': ['-march=x86-64-v4', '-mtune=icelake-server'],
    'avx2': ['-march=x86-64-v3'],
    'baseline': [],
}
INSTRUCTION_SETS = X86 if platform.machine() in ('x86_64', 'AMD64') else {'baseline': []}


class BuildError(RuntimeError):
    """No compiler, or it failed. One line."""


def source_digest() -> str:
    """Identifies the sources; a library built from others is not used."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        if path.suffix in ('.h', '.cpp'):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def library_path(instruction_set: str, folder: Path = LIBRARIES) -> Path:
    """Where the library of an instruction set is."""
    return folder / f'scan_{instruction_set}.so'


def find_compiler() -> list[str]:
    """The command of a C++ compiler: ``$CXX``, or the first one found.

    Raises:
        BuildError: There is none.
    """
    chosen = shlex.split(os.environ.get('CXX', ''))
    for command in [chosen] if chosen else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    wanted = f'$CXX is {chosen[0]!r}, which is no command' if chosen else 'no C++ compiler'
    raise BuildError(f'{wanted}: install g++ or clang++, or set CXX to one')


def build(folder: Path = LIBRARIES) -> list[str]:
    """Compile the library for each instruction set that the compiler knows.

    Args:
        folder: Where the libraries go.

    Returns:
        Names of the instruction sets, the widest first.

    Raises:
        BuildError: There is no compiler, or none of the libraries could be built.
    """
    compiler = find_compiler()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            return _build(compiler, folder, Path(scratch))
    except OSError as error:
        raise BuildError(f'{folder} cannot be written: {error.strerror or error}') from error


def _build(compiler: list[str], folder: Path, scratch: Path) -> list[str]:
    """Compile all at once, then move what was built into place."""
    running = {
        name: subprocess.Popen(
            [*compiler, *FLAGS, *flags, f'-DSOURCE_DIGEST="{source_digest()}"']
            + [str(SOURCE / 'api.cpp'), '-o', str(library_path(name, scratch))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, flags in INSTRUCTION_SETS.items()
    }
    errors = {name: process.communicate()[1] for name, process in running.items()}
    built = [name for name, process in running.items() if process.returncode == 0]
    for name in INSTRUCTION_SETS:
        library_path(name, folder).unlink(missing_ok=True)  # of an earlier build
    for name in built:
        os.replace(library_path(name, scratch), library_path(name, folder))
    if not built:
        lines = [line for line in errors['baseline'].splitlines() if 'error' in line.lower()]
        raise BuildError(f'{compiler[0]} failed: {(lines or ["without a message"])[0].strip()}')
    return built
