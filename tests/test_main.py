"""``python -m vil_mm``: what is installed."""

import sys

import pytest

import vil_mm
from vil_mm.__main__ import PACKAGES, main, report


def test_tells_versions_and_what_works(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, 'argv', ['vil-mm'])
    main()
    lines = dict(line.split('  ', 1) for line in capsys.readouterr().out.splitlines())
    assert lines['vil_mm'].strip() == vil_mm.__version__
    assert set(PACKAGES) <= set(lines)
    assert {'GPUs', 'fused kernels', 'operators of mmcv', 'operators of torchvision'} <= set(lines)


def test_says_what_is_absent(monkeypatch) -> None:
    monkeypatch.setitem(PACKAGES, 'triton', ('no-such-package',))
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    found = report()
    assert found['triton'] == 'not installed'
    assert found['fused kernels'].startswith('no, there is no CUDA GPU')
    assert found['operators of mmcv'].startswith('not compiled')


def test_lists_models(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, 'argv', ['vil-mm', '--models', 'upernet_vil_?_512x512_ade20k'])
    main()
    assert len(capsys.readouterr().out.split()) == 3
    monkeypatch.setattr(sys, 'argv', ['vil-mm', '--models', 'resnet*'])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
