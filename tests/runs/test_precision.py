"""--amp: which wrapper it makes of which."""

from __future__ import annotations

import pytest
from mmengine.config import ConfigDict

from vil_mm.runs.precision import use_mixed_precision


@pytest.fixture(params=[True, False], ids=['gpu', 'cpu'])
def gpu(request, monkeypatch) -> bool:
    monkeypatch.setattr('torch.cuda.is_available', lambda: request.param)
    return request.param


@pytest.fixture
def on_gpu(monkeypatch) -> None:
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)


@pytest.mark.parametrize('kind', ['', 'FiniteLoss'])
def test_auto_is_float16_on_a_gpu_and_bfloat16_on_a_cpu(gpu, kind):
    cfg = ConfigDict(type=f'{kind}OptimWrapper', clip_grad=dict(max_norm=1.0))
    use_mixed_precision(cfg)
    scaled = dict(type=f'{kind}AmpOptimWrapper', loss_scale='dynamic', dtype='float16')
    expected = scaled if gpu else dict(type='AutocastOptimWrapper')
    assert cfg.to_dict() == expected | dict(clip_grad=dict(max_norm=1.0))


@pytest.mark.parametrize('kind', ['AmpOptimWrapper', 'AutocastOptimWrapper'])
def test_auto_keeps_what_the_config_has(gpu, kind):
    cfg = ConfigDict(type=kind, dtype='bfloat16')
    use_mixed_precision(cfg, 'auto')
    assert cfg.to_dict() == dict(type=kind, dtype='bfloat16')


@pytest.mark.usefixtures('on_gpu')
def test_from_float16_to_bfloat16_and_back():
    limits = dict(max_skips=7, accumulative_counts=2)
    cfg = ConfigDict(
        type='FiniteLossAmpOptimWrapper', loss_scale=512.0, dtype='float16', use_fsdp=True, **limits
    )
    use_mixed_precision(cfg, 'bfloat16')
    assert cfg.to_dict() == dict(type='AutocastOptimWrapper', **limits)
    use_mixed_precision(cfg, 'float16')
    scaled = dict(type='FiniteLossAmpOptimWrapper', loss_scale='dynamic', dtype='float16')
    assert cfg.to_dict() == scaled | limits


@pytest.mark.usefixtures('on_gpu')
def test_the_own_loss_scale_stays():
    cfg = ConfigDict(type='AmpOptimWrapper', loss_scale=512.0)
    use_mixed_precision(cfg, 'float16')
    assert cfg.to_dict() == dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16')


def test_float16_on_a_cpu_is_refused(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    cfg = ConfigDict(type='OptimWrapper')
    with pytest.raises(ValueError, match=r"amp='float16': needs a GPU.*use bfloat16"):
        use_mixed_precision(cfg, 'float16')
    assert cfg.type == 'OptimWrapper'


@pytest.mark.parametrize(
    ('kind', 'precision', 'words'),
    [
        ('OptimWrapper', 'float8', "amp='float8': choose one of auto, float16"),
        ('OptimWrapperDict', 'bfloat16', 'not OptimWrapperDict'),
    ],
)
def test_unknown(kind, precision, words):
    with pytest.raises(ValueError, match=words):
        use_mixed_precision(ConfigDict(type=kind), precision)
