"""The door of the package: what importing it does, checks and says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vil_mm
from vil_mm import versions

ROOT = Path(__file__).resolve().parent.parent
COMPAT = ROOT / 'vil_mm' / 'torchvision_compat.py'

# Fails as a torchvision does whose compiled library is absent: describing an undeclared operator.
BROKEN_TORCHVISION = """
import torch
torch.library.register_fake('torchvision::nms')(lambda dets, scores, iou_threshold: dets)
torch.library.register_fake('torchvision::qnms')(lambda dets, scores, iou_threshold: dets)
"""
# Loads the one module by its file: the package's own door would import the real torchvision first.
IMPORT_BY_COMPAT = f"""
import importlib.util
spec = importlib.util.spec_from_file_location('compat', {str(COMPAT)!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat.import_torchvision()
compat.import_torchvision()
import torchvision
"""


def run_python(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter that shows every warning; `paths` come first on sys.path."""
    search = [*map(str, paths), str(ROOT), os.environ.get('PYTHONPATH', '')]
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, search))}
    command = [sys.executable, '-W', 'always', '-c', code]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def own_warnings(stderr: str) -> list[str]:
    return re.findall(r'^.*Warning: vil_mm: .*$', stderr, re.MULTILINE)


def fake_torchvision(folder: Path, source: str) -> Path:
    (folder / 'torchvision').mkdir()
    (folder / 'torchvision' / '__init__.py').write_text(source, encoding='utf-8')
    return folder


def test_import_makes_the_stack_usable_and_says_nothing():
    """Not of OneDL, nor of operators that nothing here needs; a user's own words all arrive."""
    code = """
import sys, types, warnings
import torch
class Loud:
    def find_spec(self, name, path=None, target=None):
        if name == 'vil_mm.datasets':
            print('printed by a user')
            warnings.warn('warned by a user')
sys.meta_path.insert(0, Loud())
import vil_mm, mmseg.models, mmpretrain.models, torchvision.transforms
print('the end')
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['printed by a user', 'the end']
    said = re.findall(r'Warning: (.*)', done.stderr)
    assert [line for line in said if 'user' in line] == ['warned by a user']
    assert not re.findall('OneDL|torchvision|MultiScale', ' '.join(said))


def test_version_is_that_of_the_version_file():
    assert re.fullmatch(r'\d+\.\d+\.\d+\S*', vil_mm.__version__)
    assert repr(vil_mm.__version__) in (ROOT / 'vil_mm' / 'version.py').read_text()


def test_config_dir_holds_configs():
    assert list(vil_mm.CONFIG_DIR.glob('*.py')), f'no config in {vil_mm.CONFIG_DIR}'


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(versions, 'find_spec', lambda name: None if name == 'mmseg' else object())
    with pytest.raises(ImportError, match=r"mmseg.*pip install 'vil_mm\[onedl\]'"):
        versions.check_stack()


@pytest.mark.parametrize('version', ['0.10.6', '0.12.0', '1.0'])
def test_an_untested_version_warns_once(monkeypatch, version):
    monkeypatch.setattr(versions, 'installed_version', lambda name: version)
    monkeypatch.setattr(versions, 'SUPPORTED', {'mmengine': versions.SUPPORTED['mmengine']})
    with pytest.warns(UserWarning, match=f'mmengine {re.escape(version)} is outside') as caught:
        versions.check_stack()
    assert len(caught) == 1


@pytest.mark.parametrize('version', ['0.10.7', '0.10.12', '0.11.0rc3'])
def test_a_tested_version_is_silent(monkeypatch, recwarn, version):
    monkeypatch.setattr(versions, 'installed_version', lambda name: version)
    monkeypatch.setattr(versions, 'SUPPORTED', {'mmengine': versions.SUPPORTED['mmengine']})
    versions.check_stack()
    assert not recwarn.list


def test_torchvision_of_another_build_is_imported(tmp_path):
    done = run_python(IMPORT_BY_COMPAT, fake_torchvision(tmp_path, BROKEN_TORCHVISION))
    assert done.returncode == 0, done.stderr
    assert not own_warnings(done.stderr), 'none of its operators is needed'


def test_another_failure_of_torchvision_is_not_hidden(tmp_path):
    broken = fake_torchvision(tmp_path, "raise RuntimeError('something else')")
    done = run_python(IMPORT_BY_COMPAT, broken)
    assert done.returncode != 0
    assert 'RuntimeError: something else' in done.stderr


def test_missing_torchvision_names_the_extra(tmp_path):
    absent = "raise ModuleNotFoundError('no torchvision', name='torchvision')"
    done = run_python(IMPORT_BY_COMPAT, fake_torchvision(tmp_path, absent))
    assert done.returncode != 0
    assert "pip install 'vil_mm[onedl]'" in done.stderr
