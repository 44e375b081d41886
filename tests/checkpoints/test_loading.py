from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import published
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file

from vil_mm.checkpoints.loading import split_pretrained
from vil_mm.checkpoints.reading import CheckpointError, read_state_dict
from vil_mm.models import VisionLSTM

ARCH = dict(embed_dims=32, num_layers=4)


def build(checkpoint: Path | None = None, **options) -> VisionLSTM:
    if checkpoint is not None:
        options['init_cfg'] = dict(type='Pretrained', checkpoint=str(checkpoint))
    options = {'arch': ARCH, 'img_size': (16, 20), 'patch_size': 4, **options}
    model = VisionLSTM(**options)
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


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('layout', ['raw', 'inference'])
def test_official_file(tmp_path, layout: str, version: int) -> None:
    raw = published.raw_weights(version, 32, 4, patch=4, grid=(4, 5))
    official = raw if layout == 'raw' else published.inference_weights(raw, version)
    published.write_published(tmp_path / 'vil.th', official)
    for out_type in ('raw', 'bilateral_avg' if version == 1 else 'bilateral_concat'):
        model = build(tmp_path / 'vil.th', version=version, out_type=out_type)
        expected = published.assemble(build(version=version, out_type=out_type), raw)
        assert_same_weights(model, expected)


def test_golden_official_file(tmp_path, golden) -> None:
    stored = load_file(golden / 'a_v2_classifier.safetensors')
    official = {k.removeprefix('sd.'): v for k, v in stored.items() if k.startswith('sd.')}
    torch.save({'state_dict': official}, tmp_path / 'vil2.th')
    model = build(tmp_path / 'vil2.th', out_type='raw').eval()
    with torch.no_grad():
        tokens = model(stored['x'])[0]
    error = (tokens - stored['out.norm']).abs().max() / stored['out.norm'].abs().max()
    assert error < 2e-5


@pytest.mark.parametrize('prefix', ['backbone.', 'model.backbone.'])
def test_official_file_has_no_prefix_to_ask_for(tmp_path, prefix: str) -> None:
    raw = published.raw_weights(2, 32, 4, patch=4, grid=(4, 5))
    published.write_published(tmp_path / 'vil.th', raw)
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'vil.th'), prefix=prefix)
    model = VisionLSTM(ARCH, img_size=(16, 20), patch_size=4, init_cfg=cfg)
    model.init_weights()
    assert_same_weights(model, published.assemble(build(), raw))


def test_what_a_backbone_does_not_use_is_said(tmp_path, caplog, monkeypatch) -> None:
    said = []
    monkeypatch.setattr('vil_mm.checkpoints.loading.print_log', lambda text, **_: said.append(text))
    raw = published.raw_weights(2, 32, 4, patch=4, grid=(4, 5))
    published.write_published(tmp_path / 'vil.th', raw)
    build(tmp_path / 'vil.th', final_norm=False)
    unused = 'norm.bias, norm.weight, pool_norm.bias, pool_norm.weight'
    assert said == [
        f'Backbone weights loaded from {tmp_path}/vil.th; not used by this backbone: {unused}'
    ]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(version=1), r'the file holds ViL version 2 \(.*, the model has ViL version 1 \('),
        (dict(arch='tiny'), r'holds ViL .*\(32 channels, 4 layers.* has ViL-T .*\(192 channels'),
        (dict(arch=dict(embed_dims=32, num_layers=5)), '4 layers.*5 layers'),
        (dict(patch_size=2), 'patches of 4.*patches of 2'),
        (dict(in_channels=1), r'4x5\), the model has .*4x5, images of 1 channels\)'),
        (dict(version=1, traversal='quad'), '4 layers,.*4 layers of 4 scans'),
    ],
    ids=['version', 'arch', 'layers', 'patch', 'channels', 'scans'],
)
@pytest.mark.parametrize('kind', ['official', 'ours'])
def test_another_model_is_one_clear_sentence(tmp_path, source, kind, options, words) -> None:
    if kind == 'official':
        raw = published.raw_weights(2, 32, 4, patch=4, grid=(4, 5))
        published.write_published(tmp_path / 'x.pth', raw)
    else:
        torch.save(source.state_dict(), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=words) as error:
        build(tmp_path / 'x.pth', **options)
    assert str(error.value).startswith(f'{tmp_path}/x.pth does not fit this backbone: ')
    assert len(str(error.value).splitlines()) == 1


def test_official_file_that_lacks_a_weight(tmp_path) -> None:
    raw = published.raw_weights(1, 32, 4, patch=4, grid=(4, 5))
    del raw['xlstm.blocks.1.xlstm.learnable_skip']
    published.write_published(tmp_path / 'x.pth', raw)
    words = r'x\.pth: not an official.*missing xlstm\.blocks\.1\.xlstm\.learnable_skip'
    with pytest.raises(CheckpointError, match=words):
        build(tmp_path / 'x.pth', version=1)


# official weights that reach a model unconverted


@pytest.fixture(params=['raw', 'inference'])
def official(request, tmp_path) -> Path:
    raw = published.raw_weights(2, 32, 4, patch=4, grid=(4, 5), classes=7)
    weights = raw if request.param == 'raw' else published.inference_weights(raw, 2)
    return published.write_published(tmp_path / 'official.th', weights)


def classifier(init_cfg: dict | None = None) -> torch.nn.Module:
    options = dict(img_size=(16, 20), patch_size=4, out_type='bilateral_concat')
    backbone = dict(type='VisionLSTM', arch=ARCH, **options)
    head = dict(type='LinearClsHead', num_classes=7, in_channels=64)
    cfg = dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head, init_cfg=init_cfg)
    return MODELS.build(cfg)


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('of', ['classifier', 'backbone'])
@pytest.mark.parametrize('loader', ['mmengine', 'torch'])
def test_unconverted_weights_are_refused(official, loader: str, of: str, strict: bool) -> None:
    model = classifier() if of == 'classifier' else build(out_type='bilateral_concat')
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r'tools/convert_checkpoint\.py'):
        if loader == 'mmengine':
            load_checkpoint(model, str(official), strict=strict)
        else:
            model.load_state_dict(torch.load(official)['state_dict'], strict=strict)
    if of == 'backbone':
        assert all(torch.equal(before[key], x) for key, x in model.state_dict().items())


def test_unconverted_weights_of_a_whole_model_are_refused(official) -> None:
    model = classifier(dict(type='Pretrained', checkpoint=str(official)))
    with pytest.raises(CheckpointError, match=r'tools/convert_checkpoint\.py'):
        model.init_weights()


@pytest.mark.parametrize('loader', ['mmengine', 'torch'])
def test_our_own_names_are_not_taken_for_official(tmp_path, loader: str) -> None:
    state = classifier().state_dict()
    model = classifier()
    if loader == 'mmengine':
        torch.save({'state_dict': state}, tmp_path / 'x.pth')
        load_checkpoint(model, str(tmp_path / 'x.pth'), strict=True)
    else:
        model.load_state_dict(state)
    assert all(torch.equal(state[key], x) for key, x in model.state_dict().items())
    model.load_state_dict({'head.fc.bias': torch.zeros(7), 'other': torch.zeros(1)}, strict=False)


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
    del state['blocks.1.layers.0.scans.0.skip']
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=r'blocks\.1\.layers\.0\.scans\.0\.skip'):
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


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_cut_off_at_any_place(tmp_path, source, zipped: bool) -> None:
    file = tmp_path / 'x.pth'
    torch.save(source.state_dict(), file, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    for length in [1, 2, 50, 1000, 3000, *range(5000, len(whole) - 1, 20011), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match='not a checkpoint of tensors') as error:
            read_state_dict(str(file))
        assert len(str(error.value).splitlines()) == 1


def test_damaged_in_many_ways(tmp_path, source) -> None:
    """torch's reader raises errors of a dozen kinds; here there is one."""
    rng = np.random.default_rng(0)
    file = tmp_path / 'x.pth'
    torch.save(source.state_dict(), file)
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    refused = 0
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, 4000, 20)] = rng.integers(0, 256, 20)
        file.write_bytes(damaged.tobytes())
        try:
            read_state_dict(str(file))
        except CheckpointError:
            refused += 1
    assert refused, 'no damage was seen'


@pytest.mark.parametrize('content', ['not a checkpoint', '<html>404</html>', '\x80\x02'])
def test_garbage(tmp_path, content: str) -> None:
    (tmp_path / 'x.pth').write_text(content)
    with pytest.raises(ValueError, match='not a checkpoint of tensors'):
        build(tmp_path / 'x.pth')


def test_only_tensors_count(tmp_path) -> None:
    torch.save({'state_dict': {'a': torch.ones(1), 3: 5, 'b': 4}}, tmp_path / 'x.pth')
    assert list(read_state_dict(str(tmp_path / 'x.pth'))) == ['a']
    torch.save({'state_dict': {'a': torch.ones(1), 3: torch.ones(1)}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='the name of a weight is 3, not a text'):
        read_state_dict(str(tmp_path / 'x.pth'))


def test_a_missing_file_is_the_first_thing_said(tmp_path, monkeypatch) -> None:
    listed = []
    monkeypatch.setattr(VisionLSTM, '_dump_init_info', lambda self: listed.append(self))
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'no.pth'))
    with pytest.raises(FileNotFoundError, match='checkpoint not found'):
        VisionLSTM(ARCH, init_cfg=cfg).init_weights()
    assert not listed, 'mmengine writes three lines for each parameter'


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


# weights for RGB in a model of other channels


def adapted(tmp_path: Path, channels: int, init_cfg: dict) -> VisionLSTM:
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'x.pth'), **init_cfg)
    return build(in_channels=channels, init_cfg=cfg)


@pytest.mark.parametrize('kind', ['official', 'ours'])
@pytest.mark.parametrize('channels', [1, 2, 3, 4, 6, 7])
def test_channels_are_adapted_as_timm_does(tmp_path, source, channels: int, kind: str) -> None:
    if kind == 'official':
        raw = published.raw_weights(2, 32, 4, patch=4, grid=(4, 5))
        published.write_published(tmp_path / 'x.pth', raw)
        source = published.assemble(build(), raw)
    else:
        torch.save(source.state_dict(), tmp_path / 'x.pth')
    weight = source.patch_embed.proj.weight
    model = adapted(tmp_path, channels, dict(adapt_channels=True))
    if channels == 1:
        expected = weight.sum(1, keepdim=True)
    else:
        repeated = weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels]
        expected = repeated * (3 / channels)
    torch.testing.assert_close(model.patch_embed.proj.weight, expected)
    own, theirs = model.state_dict(), source.state_dict()
    assert all(torch.equal(own[k], x) for k, x in theirs.items() if 'patch_embed.proj.w' not in k)


@pytest.mark.parametrize('channels', [1, 3, 6])
def test_equal_channels_are_embedded_as_before(tmp_path, source, channels: int) -> None:
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    model = adapted(tmp_path, channels, dict(adapt_channels=True)).eval()
    grey = torch.randn(1, 1, 16, 20)
    with torch.no_grad():
        found = model(grey.expand(-1, channels, -1, -1))[0]
        expected = source.eval()(grey.expand(-1, 3, -1, -1))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_channels_are_adapted_only_where_that_is_asked_for(tmp_path, source) -> None:
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=r'to 4 channels add adapt_channels=True to init_c'):
        adapted(tmp_path, 4, {})
    torch.save(build(in_channels=4).state_dict(), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='is for images of 4 channels: adapt_channels=True'):
        adapted(tmp_path, 6, dict(adapt_channels=True))
    with pytest.raises(CheckpointError, match='images of 4 channels') as error:
        adapted(tmp_path, 3, {})
    assert 'adapt_channels' not in str(error.value)
