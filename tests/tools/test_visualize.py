"""The command that draws what a model sees."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vil_mm.zoo import find_config

CLASSIFIER = """
_base_ = {base!r}
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, num_layers=4), img_size=32, patch_size=8
    ),
    head=dict(num_classes=3, in_channels=32),
)
"""
SMALL = ['--shape', '64']


@pytest.fixture
def images(drawn_data: Path) -> Path:
    return drawn_data / 'images' / 'validation'


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / 'classifier.py'
    path.write_text(CLASSIFIER.format(base=str(find_config('vil_t_imagenette_cpu'))))
    return path


def is_picture(path: Path) -> bool:
    with Image.open(path) as picture:
        return (
            picture.format == 'PNG' and picture.width > 900 and len(picture.getcolors(9999999)) > 50
        )


def test_features_of_a_folder(trained, images, run_here, tmp_path, capsys):
    run_here('visualize.py', 'features', images, *trained[:2], '--out', 'new/f.png')
    assert capsys.readouterr().out.splitlines()[-1] == 'new/f.png'
    assert is_picture(tmp_path / 'new' / 'f.png')
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['f.png']


def test_receptive_fields_are_printed(tiny_config, images, run_here, tmp_path, capsys):
    image = sorted(images.iterdir())[0]
    options = ['--layers', 1, 2, 8, '--draws', 2, '--out', 'r.png']
    run_here('visualize.py', 'receptive-field', image, tiny_config, *options)
    lines = capsys.readouterr().out.splitlines()
    numbers = [[float(x) for x in re.findall(r'([\d.]+) %', line)] for line in lines[-4:-1]]
    assert [line.split(' before')[0].strip() for line in lines[-4:-1]] == [
        'layer 1',
        'block 1',
        'block 4',
    ]
    assert all(sum(shares) == pytest.approx(100, abs=0.2) for shares in numbers)
    assert is_picture(tmp_path / 'r.png')


def test_decay(trained, images, run_here, tmp_path):
    image = sorted(images.iterdir())[0]
    options = ['--token', 1, 2, *SMALL, '--out', 'd.png']
    run_here('visualize.py', 'decay', image, *trained[:2], *options)
    assert is_picture(tmp_path / 'd.png')


def test_errors_on_the_test_data(trained, run_here, tmp_path, capsys):
    options = ['--index', 0, 2, '--out', 'e.png']
    run_here('visualize.py', 'errors', *trained[:2], *options)
    *lines, last = capsys.readouterr().out.splitlines()
    scores = [x for x in lines if re.fullmatch(r'\S+: mIoU [\d.]+ %, [\d.]+ % of .* right', x)]
    assert len(scores) == 2 and last == 'e.png'
    assert is_picture(tmp_path / 'e.png')


@pytest.mark.parametrize('what', ['features', 'receptive-field', 'decay'])
def test_classifiers(classifier, images, run_here, tmp_path, what):
    image = sorted(images.iterdir())[0]
    run_here('visualize.py', what, image, classifier, '--shape', 32, '--out', 'c.png')
    assert is_picture(tmp_path / 'c.png')


def refused(run_here: Callable, capsys, *command: str | Path) -> str:
    """Runs the tool, which must end with status 2; the one line that it says."""
    with pytest.raises(SystemExit) as exit_:
        run_here('visualize.py', *command)
    assert exit_.value.code == 2
    _, line = capsys.readouterr().err.split('visualize.py: ')
    assert '\n' not in line.rstrip('\n')
    return line.strip()


def test_wrong_paths(tiny_config, images, run_here, capsys, tmp_path):
    out = ['--out', 'x.png']
    line = refused(run_here, capsys, 'features', 'nowhere', tiny_config, *out)
    assert line.startswith('image or folder not found: nowhere')
    line = refused(run_here, capsys, 'features', images, 'typo.py', *out)
    assert line.startswith('config not found: typo.py')
    line = refused(run_here, capsys, 'features', images, tiny_config, 'typo.pth', *out)
    assert line.startswith('checkpoint not found: typo.pth')
    (tmp_path / 'empty').mkdir()
    line = refused(run_here, capsys, 'features', 'empty', tiny_config, *out)
    assert line.startswith('no image in empty')
    (tmp_path / 'text.png').write_text('no image')
    line = refused(run_here, capsys, 'decay', 'text.png', tiny_config, *out)
    assert line == 'not an image, or a damaged one: text.png'
    line = refused(run_here, capsys, 'decay', images, tiny_config, '--out', 'x.jpg')
    assert line.startswith('--out: expected the name of a file *.png')
    assert not (tmp_path / 'x.png').exists()


def test_wrong_options(tiny_config, classifier, images, run_here, capsys, tmp_path):
    out = ['--out', 'x.png']
    image = sorted(images.iterdir())[0]
    line = refused(run_here, capsys, 'features', image, tiny_config, '--blocks', 5, *out)
    assert line == 'no block 5: the backbone runs blocks 1 to 4'
    line = refused(run_here, capsys, 'decay', image, tiny_config, *SMALL, '--token', 4, 0, *out)
    assert line.startswith('--token 4 0: is outside the grid of 4 rows and 4 columns')
    for what, option in (('features', '--max-images'), ('receptive-field', '--draws')):
        line = refused(run_here, capsys, what, images, tiny_config, option, 0, *out)
        assert line.startswith(f'{option}: expected a whole number, at least 1')
    line = refused(run_here, capsys, 'errors', tiny_config, '--index', 3, *out)
    assert line == '--index 3: the test data has 3 images, 0 to 2'
    line = refused(run_here, capsys, 'errors', classifier, *out)
    assert line.startswith(
        'errors can be drawn for segmentation only; the config is of a classifier'
    )
    (tmp_path / 'empty.py').write_text('a = 1\n')
    line = refused(run_here, capsys, 'decay', image, 'empty.py', *out)
    assert line.startswith('empty.py: no model')
    missing = ['--cfg-options', 'test_dataloader.dataset.data_root=nowhere']
    with pytest.raises(SystemExit) as exit_:
        run_here('visualize.py', 'errors', tiny_config, *out, *missing)
    assert exit_.value.code == 2
    assert 'test data not found: nowhere' in capsys.readouterr().err
    assert not (tmp_path / 'x.png').exists()


def test_test_data_without_images(tiny_config, run_here, capsys):
    suffix = ['--cfg-options', 'test_dataloader.dataset.img_suffix=.tif']
    with pytest.raises(SystemExit) as exit_:
        run_here('visualize.py', 'errors', tiny_config, '--out', 'x.png', *suffix)
    assert exit_.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith('visualize.py: test data: no image ')
    assert 'img_suffix' in said


def test_other_backbones_are_refused(images, run_here, capsys):
    config = find_config('upernet_deit_t_camvid_short')
    line = refused(run_here, capsys, 'features', images, config, '--out', 'x.png')
    assert re.match('this picture shows layers of a VisionLSTM; the backbone .* is ', line)
