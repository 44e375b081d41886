"""The command that writes a model to a file for other programs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample

from vil_mm.runs.build import load_model
from vil_mm.runs.reading import read_config
from vil_mm.zoo import find_config

ONE_TAP = """
_base_ = './tiny.py'
model = dict(
    backbone=dict(arch=dict(num_layers=1), out_indices=(0,)),
    neck=None,
    decode_head=dict(
        _delete_=True, type='FCNHead', in_channels=16, in_index=0, channels=8, num_convs=1,
        concat_input=False, num_classes=8, norm_cfg=dict(type='BN'),
    ),
    auxiliary_head=None,
)
"""
CLASSIFIER = """
_base_ = {base!r}
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, num_layers=1), img_size=16, patch_size=8
    ),
    head=dict(num_classes=3, in_channels=32),
)
"""


@pytest.fixture
def segmentor(tiny_config: Path) -> Path:
    path = tiny_config.parent / 'one_tap.py'
    path.write_text(ONE_TAP)
    return path


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / 'classifier.py'
    path.write_text(CLASSIFIER.format(base=str(find_config('vil_t_imagenette_cpu'))))
    return path


def test_program_of_a_segmentor(segmentor, run_here, tmp_path, capsys):
    run_here('train.py', segmentor, '--no-validate', '--cfg-options', 'train_cfg.max_iters=2')
    checkpoint = tmp_path / 'work' / 'iter_2.pth'
    model = load_model(read_config(str(segmentor)), str(checkpoint))
    capsys.readouterr()
    options = ['--format', 'torch-export', '--shape', 32, 48, '--out', 'new/m.pt2']
    run_here('export.py', segmentor, checkpoint, *options)
    printed = capsys.readouterr().out
    assert re.search(r'^input     images \(batch, 3, 32, 48\) float32: RGB images', printed, re.M)
    assert re.search(r'^mLSTM     parallel$', printed, re.M)
    difference = re.search(r'logits \(batch, 8, 32, 48\): largest difference (\S+),', printed)
    assert float(difference[1]) < 1e-5
    images = torch.randint(0, 256, (3, 3, 32, 48)).float()
    program = torch.export.load(tmp_path / 'new' / 'm.pt2').module()
    with torch.no_grad():
        logits = program(images)[0]
        bgr = [x.flip(0).byte() for x in images]  # as the test pipeline reads images
        data = {'inputs': bgr, 'data_samples': [SegDataSample() for _ in bgr]}
        inputs = model.data_preprocessor(data, False)['inputs']
        wanted = model.encode_decode(inputs, [{'img_shape': torch.Size((32, 48))}])
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_onnx_of_a_classifier(classifier, run_here, tmp_path, capsys):
    onnxruntime = pytest.importorskip('onnxruntime')
    run_here('export.py', classifier, '--shape', 16, '--out', 'm.onnx')
    printed = capsys.readouterr().out
    assert re.search(r'^m\.onnx: ONNX opset 20, ', printed, re.M) and 'scores (batch, 3)' in printed
    session = onnxruntime.InferenceSession(tmp_path / 'm.onnx')
    images = np.random.default_rng(0).uniform(0, 255, (5, 3, 16, 16)).astype(np.float32)
    (scores,) = session.run(['scores'], {'images': images})
    assert scores.shape == (5, 3) and np.allclose(scores.sum(1), 1)


@pytest.mark.slow
def test_onnx_of_a_segmentor(tiny_config, run_here, tmp_path, capsys):
    onnxruntime = pytest.importorskip('onnxruntime')
    run_here('export.py', tiny_config, '--shape', 64, '--out', 'm.onnx')
    difference = re.search(r', (\S+) of the largest value', capsys.readouterr().out)
    assert float(difference[1]) < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / 'm.onnx')
    (logits,) = session.run(None, {'images': np.zeros((2, 3, 64, 64), np.float32)})
    assert logits.shape == (2, 8, 64, 64) and np.array_equal(logits[0], logits[1])


def refused(run_here: Callable, capsys, *command: str | Path) -> str:
    """Runs the tool, which must end with status 2; the one line that it says."""
    with pytest.raises(SystemExit) as exit_:
        run_here('export.py', *command)
    assert exit_.value.code == 2
    line = capsys.readouterr().err.split('export.py: ')[-1]
    assert '\n' not in line.rstrip('\n')
    return line.strip()


def test_what_cannot_be_exported(segmentor, run_here, capsys, tmp_path):
    out = ['--shape', 64, '--out', 'x.onnx']
    line = refused(run_here, capsys, 'typo.py', *out)
    assert line.startswith('config not found: typo.py')
    line = refused(run_here, capsys, segmentor, 'typo.pth', *out)
    assert line.startswith('checkpoint not found: typo.pth')
    line = refused(run_here, capsys, segmentor, '--shape', 64, '--out', 'x.pt2')
    assert line == '--out x.pt2: expected the name of a file *.onnx'
    for shape in (['-1'], ['1', '2', '3']):
        line = refused(run_here, capsys, segmentor, '--out', 'x.onnx', '--shape', *shape)
        assert line.startswith('--shape: expected ')
    line = refused(run_here, capsys, segmentor, '--out', 'x.onnx', '--shape', '60')
    assert 'multiples of the patch size 16' in line
    triton = ['--cfg-options', 'model.backbone.mlstm_backend=triton']
    assert 'Triton kernels' in refused(run_here, capsys, segmentor, *out, *triton)
    slide = [
        'model.test_cfg.mode=slide',
        'model.test_cfg.crop_size=(32,32)',
        'model.test_cfg.stride=(16,16)',
    ]
    line = refused(run_here, capsys, segmentor, *out, '--cfg-options', *slide)
    assert 'one window, 32 32' in line
    (tmp_path / 'empty.py').write_text('a = 1\n')
    assert refused(run_here, capsys, 'empty.py', *out).startswith('empty.py: no model')
    assert not list(tmp_path.glob('*x.*'))
