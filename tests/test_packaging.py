"""What wheel and sdist hold, and that the wheel works outside the repository."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md', 'model-index.yml')
FOLDERS = ('vil_mm', 'configs', 'tools')

SUFFIXES = ('.py', '.sh', '.txt', '.yml', '.h', '.cpp')

SITE = 'import sysconfig; print(sysconfig.get_path("purelib"))'
TOOLS = 'import vil_mm; print(vil_mm.CONFIG_DIR.parent / "tools")'
# a small image of noise, segmented by a model of random weights that the zoo's records name
PREDICT = """
import cv2, numpy
from vil_mm.apis import SegInferencer, find_model
assert find_model('upernet_vil_t_512x512_ade20k').config.is_file()
assert find_model('vil_t_in1k_eval').config.is_file()  # in a folder of its family
cv2.imwrite('image.png', numpy.random.default_rng(0).integers(0, 256, (48, 64, 3), numpy.uint8))
SegInferencer('upernet_vil_t_drawn', device='cpu')('image.png', out_dir='out')
"""

pytestmark = pytest.mark.slow


def require_setuptools() -> None:
    try:
        version = metadata.version('setuptools')
    except metadata.PackageNotFoundError:
        pytest.skip('setuptools is not installed, and these builds run without isolation')
    if tuple(int(part) for part in version.split('.')[:2]) < (70, 1):
        pytest.skip(f'setuptools {version} is older than 70.1, which the build requires')


def run(command: list[str | Path], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources_of(folder: str) -> set[str]:
    """Returns the Python, shell, text and YAML files of a folder, relative to the root."""
    found = [path for path in (ROOT / folder).rglob('*') if path.suffix in SUFFIXES]
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy to build in, for a build leaves folders behind."""
    require_setuptools()
    target = tmp_path_factory.mktemp('source')
    for name in FOLDERS:
        ignore = shutil.ignore_patterns('__pycache__', 'lib')  # of the native scan, built anew
        shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for name in FILES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, target / name)
    return target


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    options = ['--no-deps', '--no-build-isolation', '--no-index', '-q', '-w', str(folder)]
    run([sys.executable, '-m', 'pip', 'wheel', *options, str(source)], cwd=source)
    (path,) = folder.glob('vil_mm-*.whl')
    return path


def test_wheel_holds_configs_and_tools(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packed = {f'vil_mm/.mim/{name}' for name in sources_of('configs') | sources_of('tools')}
    packed |= {'vil_mm/.mim/model-index.yml', 'vil_mm/.mim/configs/det/README.md'}
    assert packed <= names
    modules = {name for name in sources_of('vil_mm') if '/.mim/' not in name}
    assert modules <= names
    assert not [name for name in names if name.startswith(('tests/', 'configs/', 'tools/'))]


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of commands of an environment that has the wheel and, below it, this one's stack.

    Only the folder of packages is shared, which does not make an editable install of it visible.
    """
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=True)
    commands = folder / 'bin'
    site = run([commands / 'python', '-c', SITE], cwd=folder).strip()
    Path(site, 'stack.pth').write_text(sysconfig.get_path('purelib'))
    options = ['--no-deps', '--no-index', '-q', '--ignore-installed']
    run([commands / 'python', '-m', 'pip', 'install', *options, wheel], cwd=folder)
    return commands


def test_wheel_tells_what_is_installed(installed, tmp_path):
    told = run([installed / 'python', '-m', 'vil_mm'], cwd=tmp_path)
    assert str(installed.parent) in told and str(ROOT) not in told.split('configs', 1)[1]
    assert 'upernet_vil_t_512x512_ade20k' in run([installed / 'vil-mm', '--models'], cwd=tmp_path)


def test_wheel_holds_the_native_scan(wheel, installed, tmp_path):
    if not shutil.which('c++'):
        pytest.skip('no C++ compiler')
    assert '-py3-none-' in wheel.name and not wheel.name.endswith('-any.whl')
    told = run([installed / 'python', '-m', 'vil_mm'], cwd=tmp_path)
    assert re.search(r'native scan \(CPU\) +yes, ', told)


def test_wheel_without_a_compiler(source, tmp_path):
    options = ['--no-deps', '--no-build-isolation', '--no-index', '-w', str(tmp_path), '-v']
    command = [sys.executable, '-m', 'pip', 'wheel', *options, str(source)]
    environment = os.environ | {'CXX': 'no-such-compiler'}
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'vil_mm: no native scan for the CPU ($CXX is' in done.stdout + done.stderr
    (path,) = tmp_path.glob('*.whl')
    assert path.name.endswith('-py3-none-any.whl')
    with zipfile.ZipFile(path) as archive:
        assert not [name for name in archive.namelist() if name.endswith('.so')]


def test_wheel_builds_by_name_and_predicts(installed, tmp_path):
    run([installed / 'python', '-c', PREDICT], cwd=tmp_path)
    written = sorted(path.relative_to(tmp_path) for path in (tmp_path / 'out').rglob('*.*'))
    assert written == [Path('out/pred/image.png'), Path('out/vis/image.png')]
    tools = run([installed / 'python', '-c', TOOLS], cwd=tmp_path).split('\n')[-2]
    assert '--out' in run([installed / 'python', f'{tools}/image_demo.py', '--help'], cwd=tmp_path)


def test_sdist_holds_configs_and_tools(source, tmp_path):
    build = f'from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})'
    run([sys.executable, '-c', build], cwd=source)
    (sdist,) = tmp_path.glob('vil_mm-*.tar.gz')
    with tarfile.open(sdist) as archive:
        names = {name.split('/', 1)[-1] for name in archive.getnames()}
    assert sources_of('configs') | sources_of('tools') | sources_of('vil_mm') <= names
