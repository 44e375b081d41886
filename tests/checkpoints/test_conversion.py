"""Official files to files of ours: what is written, and that nothing is after a failure."""

from __future__ import annotations

import hashlib
import os
import pickle
from datetime import datetime
from pathlib import Path

import published
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from torch import nn

from vil_mm import __version__
from vil_mm.checkpoints import conversion
from vil_mm.checkpoints.conversion import convert_checkpoint
from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.models import VisionLSTM

SMALL = dict(patch=4, grid=(4, 5), classes=7)


@pytest.fixture
def source(tmp_path) -> Path:
    return published.write_published(tmp_path / 'in.th', small())


def small(version: int = 2, layers: int = 4, **options) -> published.State:
    return published.raw_weights(version, 16, layers, **SMALL, **options)


def read(file: Path) -> dict:
    return torch.load(file, weights_only=True)


def assert_nothing_written(folder: Path, *there: str) -> None:
    assert sorted(os.listdir(folder)) == sorted(there)


# what is written


@pytest.mark.parametrize('layout', ['raw', 'inference'])
@pytest.mark.parametrize('version', [1, 2])
def test_classifier(tmp_path, version: int, layout: str) -> None:
    raw = small(version)
    weights = raw if layout == 'raw' else published.inference_weights(raw, version)
    source = published.write_published(tmp_path / 'in.th', weights)
    done = convert_checkpoint(source, tmp_path / 'out.pth')
    assert done.description.layout == layout and done.description.version == version
    assert done.num_tensors == len(raw)
    assert done.num_parameters == sum(value.numel() for value in raw.values())
    assert done.description.num_parameters == done.num_parameters

    backbone = dict(type='VisionLSTM', **done.backbone)
    head = dict(type='LinearClsHead', **done.head)
    cfg = dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head)
    model = MODELS.build(cfg)
    load_checkpoint(model, str(tmp_path / 'out.pth'), strict=True)
    expected = published.assemble(VisionLSTM(**done.backbone), raw)
    for key, value in expected.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value)
    assert torch.equal(model.head.fc.weight, raw['head.1.weight'])
    assert torch.equal(model.head.fc.bias, raw['head.1.bias'])
    assert_nothing_written(tmp_path, 'in.th', 'out.pth')


def test_backbone(source, tmp_path) -> None:
    done = convert_checkpoint(source, tmp_path / 'out.pth', to='backbone')
    model = VisionLSTM(**done.backbone)
    load_checkpoint(model, str(tmp_path / 'out.pth'), strict=True)
    assert done.num_tensors == len(small()) - 2
    assert done.num_parameters == sum(value.numel() for value in model.state_dict().values())


@pytest.mark.parametrize('layout', ['raw', 'inference'])
def test_back_to_official(tmp_path, layout: str) -> None:
    raw = small(1)
    weights = raw if layout == 'raw' else published.inference_weights(raw, 1)
    published.write_published(tmp_path / 'in.th', weights)
    convert_checkpoint(tmp_path / 'in.th', tmp_path / 'ours.pth')
    convert_checkpoint(tmp_path / 'ours.pth', tmp_path / 'back.th', to='official')
    back = read(tmp_path / 'back.th')['state_dict']
    assert list(back) == list(weights)
    assert all(torch.equal(back[key], weights[key]) for key in back)


def test_meta_record(source, tmp_path) -> None:
    before = datetime.now().astimezone().replace(microsecond=0)
    done = convert_checkpoint(source, tmp_path / 'out.pth')
    meta = read(tmp_path / 'out.pth')['meta']
    assert meta['source'] == 'in.th' and meta['layout'] == 'raw' and meta['version'] == 2
    assert meta['sha256'] == hashlib.sha256(source.read_bytes()).hexdigest() == done.sha256
    assert meta['vil_mm_version'] == __version__
    assert meta['model'] == 'ViL version 2 (16 channels, 4 layers, patches of 4, grid 4x5)'
    assert before <= datetime.fromisoformat(meta['time'])


@pytest.mark.parametrize('traversal', ['bidirectional', 'quad'])
def test_block_designs(tmp_path, traversal: str) -> None:
    ends = {'bidirectional': ('', '_rev'), 'quad': ('', '_rev', '_du', '_ud')}[traversal]
    published.write_published(tmp_path / 'in.th', small(1, scans=ends))
    done = convert_checkpoint(tmp_path / 'in.th', tmp_path / 'out.pth', to='backbone')
    assert done.backbone['traversal'] == traversal
    load_checkpoint(VisionLSTM(**done.backbone), str(tmp_path / 'out.pth'), strict=True)


@pytest.mark.parametrize(
    ('weights', 'options', 'head'),
    [
        (small(), dict(out_type='bilateral_concat'), dict(num_classes=7, in_channels=32)),
        (small(1), dict(out_type='bilateral_avg'), dict(num_classes=7, in_channels=16)),
        (small(1, pooled=32), dict(out_type='bilateral_concat'), dict(in_channels=32)),
        (small(1, class_token=True), dict(out_type='middle_cls'), dict(in_channels=16)),
        (small(1, layers=5), dict(arch=dict(embed_dims=16, num_layers=5)), {}),
        (small(1), dict(img_size=(16, 20), patch_size=4), {}),
    ],
    ids=['v2', 'v1', 'concatenated', 'class token', 'odd', 'size'],
)
def test_options_of_the_model(tmp_path, weights, options: dict, head: dict) -> None:
    published.write_published(tmp_path / 'in.th', weights)
    done = convert_checkpoint(tmp_path / 'in.th', tmp_path / 'out.pth')
    assert done.backbone.items() >= options.items()
    assert done.head.items() >= head.items()


def test_without_head(tmp_path) -> None:
    weights = {key: value for key, value in small().items() if not key.startswith('head.')}
    published.write_published(tmp_path / 'in.th', weights)
    done = convert_checkpoint(tmp_path / 'in.th', tmp_path / 'out.pth')
    assert done.head is None and done.backbone['out_type'] == 'featmap'


# what is not


def test_an_existing_file_is_kept_unless_asked(source, tmp_path) -> None:
    target = tmp_path / 'out.pth'
    target.write_text('precious')
    with pytest.raises(ValueError, match=r'force=False: .* exists'):
        convert_checkpoint(source, target)
    assert target.read_text() == 'precious'
    convert_checkpoint(source, target, force=True)
    assert len(read(target)['state_dict']) == len(small())
    assert_nothing_written(tmp_path, 'in.th', 'out.pth')


def test_the_source_is_never_replaced(source, tmp_path) -> None:
    before = source.read_bytes()
    (tmp_path / 'link.pth').symlink_to(source)
    for target in (source, tmp_path / 'link.pth'):
        with pytest.raises(FileExistsError, match='the source itself'):
            convert_checkpoint(source, target, force=True)
    assert source.read_bytes() == before


def test_wrong_targets(source, tmp_path) -> None:
    with pytest.raises(IsADirectoryError, match='is a folder'):
        convert_checkpoint(source, tmp_path)
    with pytest.raises(OSError):
        convert_checkpoint(source, source / 'out.pth')
    assert_nothing_written(tmp_path, 'in.th')


def test_the_folder_is_made_when_there_is_something_to_write(source, tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        convert_checkpoint(tmp_path / 'typo.th', tmp_path / 'a' / 'b' / 'out.pth')
    assert_nothing_written(tmp_path, 'in.th')
    convert_checkpoint(source, tmp_path / 'a' / 'b' / 'out.pth')
    assert_nothing_written(tmp_path / 'a' / 'b', 'out.pth')


@pytest.mark.parametrize('when', ['saving', 'replacing'])
@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
def test_a_failed_write_leaves_nothing(source, tmp_path, monkeypatch, error, when: str) -> None:
    (tmp_path / 'out.pth').write_text('precious')

    def fail(*_: object) -> None:
        raise error

    def half(content: dict, file) -> None:
        file.write(b'half')
        raise error

    if when == 'saving':
        monkeypatch.setattr(conversion.torch, 'save', half)
    else:
        monkeypatch.setattr(Path, 'replace', fail)
    with pytest.raises(type(error)):
        convert_checkpoint(source, tmp_path / 'out.pth', force=True)
    assert (tmp_path / 'out.pth').read_text() == 'precious'
    assert_nothing_written(tmp_path, 'in.th', 'out.pth')


def changed(**changes: torch.Tensor | None) -> published.State:
    state = {**small(), **{key.replace('__', '.'): x for key, x in changes.items()}}
    return {key: value for key, value in state.items() if value is not None}


SKIP = 'xlstm__blocks__1__xlstm__learnable_skip'
WRONG = {
    'a weight is missing': (changed(**{SKIP: None}), r'missing xlstm\.blocks\.1\.xlstm\.learn'),
    'a weight too many': (changed(head__2__weight=torch.ones(1)), r'left over head\.2\.weight'),
    'another width': (
        {**small(), **{k: v for k, v in published.raw_weights(2, 32, 4).items() if '.2.' in k}},
        r'norm\.weight has the shape \(32,\), but .*\(16 channels.* needs \(16,\) \(and',
    ),
    'one tensor cut': (changed(**{SKIP: torch.ones(31)}), r'shape \(31,\).* needs \(32,\)'),
    'head of another width': (
        changed(head__1__weight=torch.ones(7, 16)),
        r'head\.fc\.weight has the shape \(7, 16\).* needs \(7, 32\)',
    ),
    'head of two sizes': (changed(head__1__bias=torch.ones(5)), r'head\.fc\.bias has the shape'),
    'channels that do not divide': (published.raw_weights(2, 18, 2), 'divisible by 4'),
    'ResNet': ({'layer1.0.conv1.weight': torch.ones(1)}, r'does not hold a ViL.*layer1\.0\.conv1'),
    'DeiT': ({'blocks.0.attn.qkv.weight': torch.ones(1)}, 'does not hold a ViL in one of the'),
    'separate convolutions': (
        changed(xlstm__blocks__0__xlstm__conv1d_k__weight=torch.ones(1)),
        'separate convolutions.*not support',
    ),
}


@pytest.mark.parametrize('case', WRONG)
def test_wrong_weights(tmp_path, case: str) -> None:
    weights, words = WRONG[case]
    source = published.write_published(tmp_path / 'in.th', weights)
    with pytest.raises(CheckpointError, match=words) as error:
        convert_checkpoint(source, tmp_path / 'out.pth')
    message = str(error.value)
    assert message.startswith(str(source)) and len(message.splitlines()) == 1
    assert_nothing_written(tmp_path, 'in.th')


@pytest.mark.parametrize('what', ['cut off', 'pickle', 'pickle in a zip', 'empty', 'text', 'gone'])
def test_wrong_files(source, tmp_path, what: str) -> None:
    ran = tmp_path / 'ran'
    whole = source.read_bytes()
    if what == 'pickle':
        source.write_bytes(pickle.dumps({'state_dict': Touch(ran)}))
    elif what == 'pickle in a zip':
        torch.save({'state_dict': small(), 'ckpt': Touch(ran)}, source)
    elif what == 'gone':
        source.unlink()
    else:
        content = {'cut off': whole[: len(whole) * 2 // 3], 'empty': b'', 'text': b'<html>'}
        source.write_bytes(content[what])
    with pytest.raises((CheckpointError, FileNotFoundError)) as error:
        convert_checkpoint(source, tmp_path / 'out.pth')
    message = str(error.value)
    assert str(source) in message and len(message.splitlines()) == 1
    assert 'can still be loaded' not in message
    assert not ran.exists(), 'code in the file was run'
    assert_nothing_written(tmp_path, *(() if what == 'gone' else ('in.th',)))


def test_the_reason_of_a_refusal_is_given(source, tmp_path) -> None:
    torch.save(nn.Linear(2, 2), source)
    with pytest.raises(CheckpointError) as error:
        convert_checkpoint(source, tmp_path / 'out.pth')
    assert 'Unsupported global: GLOBAL torch.nn.modules.linear.Linear)' in str(error.value)
    assert 'can still be loaded' not in str(error.value)
    assert_nothing_written(tmp_path, 'in.th')


@pytest.mark.parametrize(
    ('change', 'name', 'said'),
    [
        (torch.Tensor.long, 'proj_up.weight', 'whole numbers'),
        (torch.Tensor.to_sparse, 'proj_up.weight', 'is sparse'),
        (torch.Tensor.long, 'learnable_skip', 'not plain floating-point'),
    ],
)
def test_weights_that_are_no_plain_numbers(tmp_path, change, name: str, said: str) -> None:
    weights, key = small(), f'xlstm.blocks.1.xlstm.{name}'
    source = published.write_published(tmp_path / 'in.th', {**weights, key: change(weights[key])})
    with pytest.raises(CheckpointError, match=said):
        convert_checkpoint(source, tmp_path / 'out.pth')
    assert_nothing_written(tmp_path, 'in.th')


@pytest.mark.parametrize(
    ('to', 'backbone', 'head'),
    [('classifier', True, True), ('backbone', True, False), ('official', False, False)],
)
def test_options_are_of_what_was_written(source, tmp_path, to: str, backbone, head) -> None:
    if to == 'official':
        convert_checkpoint(source, tmp_path / 'ours.pth')
        source = tmp_path / 'ours.pth'
    done = convert_checkpoint(source, tmp_path / 'out.pth', to=to)
    assert (done.backbone is not None, done.head is not None) == (backbone, head)


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_converted_files_are_told_from_official_ones(source, tmp_path) -> None:
    convert_checkpoint(source, tmp_path / 'out.pth')
    with pytest.raises(CheckpointError, match="does not hold a ViL in one of the authors' layouts"):
        convert_checkpoint(tmp_path / 'out.pth', tmp_path / 'again.pth')
    with pytest.raises(CheckpointError, match='does not hold a ViL under our own names'):
        convert_checkpoint(source, tmp_path / 'again.pth', to='official')
    assert_nothing_written(tmp_path, 'in.th', 'out.pth')


@pytest.mark.parametrize('final_norm', [True, False])
def test_the_backbone_of_a_segmentor_has_official_names(tmp_path, final_norm: bool) -> None:
    backbone = VisionLSTM(
        dict(embed_dims=16, num_layers=2), img_size=32, out_indices=(0,), final_norm=final_norm
    )
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save(state | {'decode_head.conv_seg.weight': torch.ones(1)}, tmp_path / 'in.pth')
    if final_norm:
        done = convert_checkpoint(tmp_path / 'in.pth', tmp_path / 'out.th', to='official')
        assert done.left_out == {'decode_head': 1} and done.num_tensors == len(state)
        return
    with pytest.raises(CheckpointError, match=r'whole model with decode_head.* no final norm'):
        convert_checkpoint(tmp_path / 'in.pth', tmp_path / 'out.th', to='official')
    assert_nothing_written(tmp_path, 'in.pth')
