"""What wheel and sdist hold: the package, and configs and tools where OpenMMLab's mim looks."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md')
FOLDERS = ('vil_mm', 'configs', 'tools')

pytestmark = pytest.mark.slow


def require_setuptools() -> None:
    try:
        version = metadata.version('setuptools')
    except metadata.PackageNotFoundError:
        pytest.skip('setuptools is not installed, and these builds run without isolation')
    if tuple(int(part) for part in version.split('.')[:2]) < (70, 1):
        pytest.skip(f'setuptools {version} is older than 70.1, which the build requires')


def run(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def sources_of(folder: str) -> set[str]:
    """Returns the Python, shell and text files of a folder, relative to the root."""
    found = [path for path in (ROOT / folder).rglob('*') if path.suffix in ('.py', '.sh', '.txt')]
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy to build in, for a build leaves folders behind."""
    require_setuptools()
    target = tmp_path_factory.mktemp('source')
    for name in FOLDERS:
        ignore = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for name in FILES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, target / name)
    return target


def test_wheel_holds_configs_and_tools(source, tmp_path):
    options = ['--no-deps', '--no-build-isolation', '--no-index', '-q', '-w', str(tmp_path)]
    run([sys.executable, '-m', 'pip', 'wheel', *options, str(source)], cwd=source)
    (wheel,) = tmp_path.glob('vil_mm-*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packed = {f'vil_mm/.mim/{name}' for name in sources_of('configs') | sources_of('tools')}
    assert packed and packed <= names
    modules = {name for name in sources_of('vil_mm') if '/.mim/' not in name}
    assert modules <= names
    assert not [name for name in names if name.startswith(('tests/', 'configs/', 'tools/'))]


def test_sdist_holds_configs_and_tools(source, tmp_path):
    build = f'from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})'
    run([sys.executable, '-c', build], cwd=source)
    (sdist,) = tmp_path.glob('vil_mm-*.tar.gz')
    with tarfile.open(sdist) as archive:
        names = {name.split('/', 1)[-1] for name in archive.getnames()}
    assert sources_of('configs') | sources_of('tools') | sources_of('vil_mm') <= names
