from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file

from vil_mm.models import VisionLSTM
from vil_mm.models.pretrained import split_pretrained

ARCH = dict(embed_dims=32, num_layers=4)


def build(checkpoint: Path | None = None, **options) -> VisionLSTM:
    if checkpoint is not None:
        options['init_cfg'] = dict(type='Pretrained', checkpoint=str(checkpoint))
    model = VisionLSTM(ARCH, img_size=(16, 20), patch_size=4, **options)
    model.init_weights()
    return model


def assert_same_weights(a: VisionLSTM, b: VisionLSTM) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, msg=name)


@pytest.fixture
def source() -> VisionLSTM:
    torch.manual_seed(1)
    return build()


@pytest.mark.parametrize('layout', ['bare', 'state_dict', 'model', 'model, with optimizer'])
def test_our_own_files(tmp_path, source, layout: str) -> None:
    state = source.state_dict()
    if layout.startswith('model'):
        state = {f'backbone.{key}': value for key, value in state.items()}
        state['decode_head.weight'] = torch.zeros(3)
    content = state if layout == 'bare' else {'state_dict': state, 'meta': {'iter': 3}}
    if layout.endswith('optimizer'):
        content['optimizer'] = {'state': {}, 'param_groups': [{'lr': 1e-3}]}
    torch.save(content, tmp_path / 'x.pth')
    assert_same_weights(build(tmp_path / 'x.pth'), source)


def test_official_file(tmp_path, golden) -> None:
    stored = load_file(golden / 'a_v2_classifier.safetensors')
    official = {k.removeprefix('sd.'): v for k, v in stored.items() if k.startswith('sd.')}
    torch.save({'state_dict': official}, tmp_path / 'vil2.th')
    model = build(tmp_path / 'vil2.th', out_type='raw').eval()
    with torch.no_grad():
        tokens = model(stored['x'])[0]
    error = (tokens - stored['out.norm']).abs().max() / stored['out.norm'].abs().max()
    assert error < 2e-5


def test_position_embedding_of_another_resolution(tmp_path, source) -> None:
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth'))
    model = VisionLSTM(ARCH, img_size=32, patch_size=4, init_cfg=cfg)
    model.init_weights()
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model.eval()(image), source.eval()(image))


def test_mmengine_loader_resizes_too(tmp_path, source) -> None:
    """It calls modules' own loading one by one and never a model's ``load_state_dict``."""
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'x.pth')
    model = VisionLSTM(ARCH, img_size=32, patch_size=4)
    load_checkpoint(model, str(tmp_path / 'x.pth'), strict=True)
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model.eval()(image), source.eval()(image))


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ({'backbone.unknown': torch.zeros(1)}, 'lacks'),
        ({}, 'holds no weights'),
        ([1, 2], 'holds no weights'),
        ({'patch_embed.proj.weight': torch.zeros(2, 2)}, 'does not fit'),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, content, words: str) -> None:
    torch.save(content, tmp_path / 'wrong.pth')
    with pytest.raises(ValueError, match=words) as error:
        build(tmp_path / 'wrong.pth')
    assert 'wrong.pth' in str(error.value)


def test_missing_weights_are_listed(tmp_path, source) -> None:
    state = source.state_dict()
    del state['blocks.1.layers.0.skip']
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=r'blocks\.1\.layers\.0\.skip'):
        build(tmp_path / 'x.pth')


def test_missing_file() -> None:
    with pytest.raises(FileNotFoundError, match='nowhere'):
        build(Path('nowhere.pth'))


def test_code_in_a_file_is_not_run(tmp_path) -> None:
    marker = tmp_path / 'ran'
    with (tmp_path / 'evil.pth').open('wb') as file:
        pickle.dump(_Evil(marker), file)
    with pytest.raises(ValueError, match='not a checkpoint of tensors'):
        build(tmp_path / 'evil.pth')
    assert not marker.exists()


def test_log_history_opens_no_way_to_builtins(tmp_path) -> None:
    content = {'state_dict': {'a': torch.zeros(1)}, 'log': _Attribute()}
    torch.save(content, tmp_path / 'evil.pth', pickle_protocol=2)
    with pytest.raises(ValueError, match='__builtins__'):
        build(tmp_path / 'evil.pth')


def test_log_history_of_mmengine_is_skipped(tmp_path, source) -> None:
    log = HistoryBuffer(np.arange(3, dtype=np.float32), np.ones(3))
    log.update(np.float64(2.0))
    content = {'state_dict': source.state_dict(), 'message_hub': {'log_scalars': {'loss': log}}}
    torch.save(content, tmp_path / 'x.pth')
    assert_same_weights(build(tmp_path / 'x.pth'), source)


class _Attribute:
    def __reduce__(self):
        return getattr, (HistoryBuffer.mean, '__builtins__')


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_garbage(tmp_path) -> None:
    (tmp_path / 'x.pth').write_text('not a checkpoint')
    with pytest.raises(ValueError, match='not a checkpoint of tensors'):
        build(tmp_path / 'x.pth')


def test_other_initialisations_still_run(tmp_path, source) -> None:
    model = VisionLSTM(ARCH, init_cfg=dict(type='Constant', layer='Conv2d', val=0.5))
    model.init_weights()
    assert (model.patch_embed.proj.weight == 0.5).all()


def test_split_pretrained() -> None:
    constant = dict(type='Constant', layer='Conv2d', val=0.0)
    pretrained = dict(type='Pretrained', checkpoint='x')
    assert split_pretrained(None) == ([], None)
    assert split_pretrained(constant) == ([], [constant])
    assert split_pretrained([pretrained, constant]) == ([{'checkpoint': 'x'}], [constant])
    assert split_pretrained(pretrained) == ([{'checkpoint': 'x'}], None)
