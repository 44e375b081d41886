"""tools/finetune.py as a user runs it: from folders to a trained model and its scores."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image
from published import raw_weights, write_published

from vil_mm.datasets import draw_dataset
from vil_mm.own_data.weights import read_start

SIZES = ['--iters', '2', '--batch-size', '2', '--crop', '64', '64']


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Eight drawn pictures; their masks are white where there is a shape of any kind."""
    root = tmp_path_factory.mktemp('own')
    draw_dataset(root / 'drawn', num_train=8, num_val=1, size_range=(64, 80))
    masks = root / 'masks'
    masks.mkdir()
    for file in (root / 'drawn' / 'annotations' / 'training').iterdir():
        labels = np.asarray(Image.open(file))
        most = np.bincount(labels.ravel()).argmax()
        white = Image.fromarray(np.where(labels == most, 0, 255).astype(np.uint8))
        white.save(masks / f'{file.stem}_mask.png')
    return root / 'drawn' / 'images' / 'training', masks


def args(folders: tuple[Path, Path], *others: str | Path) -> list[str]:
    images, masks = map(str, folders)
    named = ['--images', images, '--masks', masks, '--classes', 'background', 'shape']
    return [*named, *map(str, others)]


def test_from_a_segmentor(run_here, folders, trained, tmp_path, capsys):
    options = args(folders, *SIZES, '--from', trained.checkpoint, '--out', tmp_path / 'mine')
    run_here('finetune.py', *options)
    said = capsys.readouterr().out
    out = tmp_path / 'mine'
    checkpoint = out / 'run' / 'iter_2.pth'
    assert 'photos   8 in' in said and '0 (' in said and '-> 1 shape' in said
    assert f'segmentor {trained.checkpoint}: ViL with UPerHead, 8 classes' in said
    for row in ('always the most frequent class', 'by position alone', 'this model', '  shape'):
        assert re.search(rf'^{row} +[\d.]+$', said, re.MULTILINE), said
    assert f'config     {out / "config.py"}' in said
    best = Path(re.search(r'^checkpoint (\S+)$', said, re.MULTILINE)[1])
    assert best.is_file() and checkpoint.is_file()
    pictures = sorted((out / 'pictures').rglob('*.png'))
    assert len(pictures) == len((out / 'data' / 'val.txt').read_text().split()) == 2
    with Image.open(pictures[0]) as picture:
        assert picture.width > 3 * 64  # photo, mask and prediction side by side

    # the decoder goes on, its last layer is new
    before, after = (
        torch.load(x, weights_only=False)['state_dict'] for x in (trained.checkpoint, best)
    )
    assert after['decode_head.conv_seg.weight'].shape[0] == 2
    key = 'decode_head.bottleneck.conv.weight'
    assert torch.allclose(before[key], after[key], atol=5e-3)

    # the same command again goes on, and trains no more
    stamp = checkpoint.stat().st_mtime
    run_here('finetune.py', *options)
    again = capsys.readouterr().out
    assert 'is kept' in again and checkpoint.stat().st_mtime == stamp
    assert again.count('this model') == 1

    # what was written works by itself with the other tools
    config = out / 'config.py'
    run_here('image_demo.py', folders[0], config, best, '--out', tmp_path / 'predicted')
    assert len(list((tmp_path / 'predicted').iterdir())) == 8
    run_here('test.py', config, best, '--work-dir', tmp_path / 'test')


def test_prepare_only_then_train(run_here, folders, trained, tmp_path, capsys):
    options = args(folders, *SIZES, '--from', trained.checkpoint, '--out', 'mine')
    run_here('finetune.py', *options, '--prepare-only')
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == 'train    python tools/train.py mine/config.py'
    assert not (tmp_path / 'mine' / 'run').exists()
    run_here('train.py', 'mine/config.py')
    assert (tmp_path / 'mine' / 'run' / 'iter_2.pth').is_file()


def test_other_weights_to_start_from(trained, tmp_path):
    """Weights alone of a segmentor, a backbone's own, the authors', none, and those of no ViL."""
    state = torch.load(trained.checkpoint, weights_only=False)['state_dict']
    bare, backbone, other = (tmp_path / f'{x}.pth' for x in ('bare', 'backbone', 'other'))
    torch.save({'state_dict': state}, bare)
    torch.save({k: v for k, v in state.items() if k.startswith('backbone.')}, backbone)
    torch.save({'fc.weight': torch.zeros(3, 3)}, other)
    official = write_published(tmp_path / 'vil.th', raw_weights(2, 16, 8, classes=5))

    start = read_start(str(bare), on_cpu=True)
    assert start.load_from == str(bare) and start.model['decode_head']['channels'] == 8
    for file, what in ((backbone, 'a checkpoint of this package'), (official, "the authors' file")):
        start = read_start(str(file), on_cpu=True)
        assert what in start.line and start.load_from is None and start.pretrained
        assert start.model['backbone']['arch'] == {'embed_dims': 16, 'num_layers': 8}
        assert start.model['backbone']['init_cfg']['checkpoint'] == str(file)
    start = read_start(None, on_cpu=True)
    assert start.line.startswith('nothing: ') and not start.pretrained
    shallow = write_published(tmp_path / 'shallow.th', raw_weights(2, 16, 4, classes=5))
    with pytest.raises(ValueError, match='has 2 blocks, but UPerNet reads the maps of 4'):
        read_start(str(shallow), on_cpu=True)
    with pytest.raises(ValueError, match='cannot be used as a start'):
        read_start(str(other), on_cpu=True)


def test_from_a_backbone(run_here, folders, trained, tmp_path):
    state = torch.load(trained.checkpoint, weights_only=False)['state_dict']
    backbone = tmp_path / 'backbone.pth'
    torch.save({k: v for k, v in state.items() if k.startswith('backbone.')}, backbone)
    out = tmp_path / 'mine'
    run_here('finetune.py', *args(folders, '--from', backbone, '--out', out), '--prepare-only')
    cfg = Config.fromfile(out / 'config.py')
    assert cfg.load_from is None and cfg.model.decode_head.num_classes == 2
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    model.init_weights()
    key = 'backbone.blocks.0.layers.0.proj_up.weight'
    assert torch.equal(model.state_dict()[key], state[key])


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (['--images', 'nowhere'], '--images: no such folder: nowhere'),
        (['--from', 'none.pth'], 'checkpoint not found: none.pth'),
        (['--batch-size', '1'], '--batch-size: expected 2 or more'),
        (['--crop', '60', '64'], '--crop: expected a multiple of 16, got 60'),
        (['--iters', '1'], '--iters: expected 2 or more'),
        (['--values', 'background=0', 'shape=7'], 'also hold 255'),
        (['--classes', 'a'], 'the background is a class too'),
    ],
)
def test_refused_in_one_line(run_here, folders, tmp_path, capsys, changed, message):
    with pytest.raises(SystemExit) as error:
        run_here('finetune.py', *args(folders), *changed)
    assert error.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('finetune.py: ') and message in line
    assert not list(tmp_path.glob('work_dirs/*'))


@pytest.mark.slow
def test_real_photos(run_here, test_data, tmp_path, capsys):
    """Twelve frames of two classes, for a short while and from nothing: it learns where road is."""
    names = sorted((test_data / 'camvid' / 'images' / 'val').iterdir())[::9][:12]
    for folder in ('photos', 'masks'):
        (tmp_path / folder).mkdir()
    for photo in names:
        (tmp_path / 'photos' / photo.name).symlink_to(photo)
        mask = test_data / 'camvid' / 'annotations' / 'val' / f'{photo.stem}.png'
        road = np.asarray(Image.open(mask)) == 3
        Image.fromarray(road).save(tmp_path / 'masks' / f'{photo.stem}_road.png')
    run_here(
        'finetune.py', '--images', 'photos', '--masks', 'masks', '--classes', 'rest', 'road',
        '--iters', '120', '--crop', '96', '128', '--out', 'road',
    )  # fmt: skip
    said = capsys.readouterr().out
    assert float(re.search(r'^this model +([\d.]+)$', said, re.MULTILINE)[1]) > 60, said
