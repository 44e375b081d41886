"""Files of weights that a run starts from are checked before it, wherever the config names them."""

from __future__ import annotations

from pathlib import Path

import published
import pytest
import torch

from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.runs.checks import CHECKPOINT_PAGE, check_checkpoint
from vil_mm.runs.launch import prepare_testing, prepare_training


def test_checkpoints_that_pass(tmp_path):
    for zipped in (True, False):
        file = tmp_path / f'{zipped}.pth'
        torch.save(dict(a=torch.ones(2)), file, _use_new_zipfile_serialization=zipped)
        check_checkpoint(str(file))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        ('missing', 'checkpoint not found'),
        ('a folder', 'checkpoint not found'),
        ('empty', r'checkpoint is empty \(0 bytes\)'),
        ('text', 'not a checkpoint'),
        ('cut off', 'not a checkpoint of tensors and plain containers, or cut off'),
    ],
)
def test_checkpoints_that_do_not(tmp_path, damage, message):
    file = tmp_path / 'w.pth'
    if damage == 'a folder':
        file.mkdir()
    elif damage != 'missing':
        torch.save(dict(a=torch.ones(1000)), file)
        whole = file.read_bytes()
        bad = {'empty': b'', 'text': b'<html>404</html>', 'cut off': whole[: len(whole) // 2]}
        file.write_bytes(bad[damage])
    with pytest.raises((FileNotFoundError, ValueError), match=message) as error:
        check_checkpoint(str(file))
    assert str(file) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.fixture(params=['raw', 'inference'])
def official(request, tmp_path: Path) -> str:
    raw = published.raw_weights(2, 16, 8, grid=(4, 4))
    weights = raw if request.param == 'raw' else published.inference_weights(raw, 2)
    return str(published.write_published(tmp_path / 'vil2.th', weights))


def test_official_weights_are_sent_to_the_converter(cfg, official):
    words = rf'{official} cannot be loaded.* python tools/convert_checkpoint\.py {official}'
    with pytest.raises(CheckpointError, match=words):
        check_checkpoint(official)
    with pytest.raises(CheckpointError, match=words):
        prepare_testing(cfg, official)
    cfg.load_from = official
    with pytest.raises(CheckpointError, match=words):
        prepare_training(cfg)


@pytest.mark.parametrize('part', ['model', 'model.decode_head', 'pretrained'])
def test_official_weights_of_a_whole_model_are_sent_to_the_converter(cfg, official, part):
    if part == 'pretrained':
        cfg.model.pretrained = official
    else:
        owner = cfg.model if part == 'model' else cfg.model.decode_head
        owner.init_cfg = dict(type='Pretrained', checkpoint=official)
    with pytest.raises(CheckpointError, match='convert_checkpoint'):
        prepare_training(cfg)


def test_official_weights_of_the_backbone_pass(cfg, official):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=official)
    before = cfg.to_dict()
    prepare_training(cfg)
    assert cfg.to_dict() == before


def test_an_address_is_refused():
    with pytest.raises(ValueError, match='download the file'):
        check_checkpoint('https://example.org/weights.pth')


def test_training_checks_the_weights_of_the_backbone(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    with pytest.raises(FileNotFoundError, match=r'checkpoint not found: nowhere\.pth') as error:
        prepare_training(cfg)
    message = str(error.value)
    assert '\n' not in message and f'{CHECKPOINT_PAGE} says where' in message
    assert message.endswith('model.backbone.init_cfg=None')


def test_resuming_needs_no_weights_of_the_backbone(cfg, tmp_path, resumable):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    (tmp_path / 'work').mkdir()
    torch.save(resumable, tmp_path / 'work' / 'iter_2.pth')
    (tmp_path / 'work' / 'last_checkpoint').write_text(str(tmp_path / 'work' / 'iter_2.pth'))
    prepare_training(cfg, resume=True)
    assert cfg.model.backbone.init_cfg is None


@pytest.mark.parametrize('part', ['model', 'model.decode_head'])
def test_weights_that_nothing_would_check_are_refused(cfg, weights, part):
    owner = cfg.model if part == 'model' else cfg.model.decode_head
    owner.init_cfg = [dict(type='Pretrained', checkpoint=weights)]
    with pytest.raises(ValueError, match=rf'{part}\.init_cfg names weights.*load_from'):
        prepare_training(cfg)


def test_pretrained_of_a_model_is_an_init_cfg(cfg, weights):
    cfg.model.pretrained = weights
    with pytest.raises(ValueError, match=r'model\.init_cfg names weights.*load_from'):
        prepare_training(cfg)
    cfg.model.pretrained = None
    prepare_training(cfg)


def test_resume_in_the_config_is_the_option(cfg, weights, tmp_path):
    cfg.load_from, cfg.resume = weights, True
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'last_checkpoint').write_text('gone.pth')
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        prepare_training(cfg)


def test_weights_in_pieces(cfg, tmp_path):
    """A strategy writes a folder and reads it again; evaluation needs one file."""
    folder = tmp_path / 'iter_2.pth'
    folder.mkdir()
    with pytest.raises(ValueError, match=r'is a folder.*zero_to_fp32'):
        prepare_testing(cfg, str(folder))
    cfg.load_from = str(folder)
    with pytest.raises(FileNotFoundError):
        prepare_training(cfg)
    cfg.runner_type = 'FlexibleRunner'
    prepare_training(cfg)
    assert cfg.load_from == str(folder)
