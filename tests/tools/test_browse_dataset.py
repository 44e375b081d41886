"""Pictures of a data set by the command line."""

from __future__ import annotations

import re

import pytest
from PIL import Image

import vil_mm


def test_browse(run_here, tiny_config, tmp_path, capsys) -> None:
    run_here('browse_dataset.py', tiny_config, '-o', 'out', '-n', '2', '--mode', 'concat')
    assert '2 pictures in out' in capsys.readouterr().out
    files = sorted((tmp_path / 'out').iterdir())
    assert len(files) == 2
    with Image.open(files[0]) as picture:
        assert min(picture.size) > 256


@pytest.mark.slow
@pytest.mark.parametrize('mode', ['transformed', 'pipeline'])
def test_real_images(run_here, test_data, tmp_path, mode) -> None:
    config, root = vil_mm.CONFIG_DIR / 'upernet_vil_t_camvid.py', test_data / 'camvid'
    options = ['--cfg-options', f'train_dataloader.dataset.data_root={root}']
    run_here('browse_dataset.py', config, '-o', 'out', '-n', '1', '-m', mode, *options)
    assert len(list((tmp_path / 'out').iterdir())) == 1


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['missing.py'], 'config not found: missing.py'),
        ([vil_mm.CONFIG_DIR / 'det/atss_vil_t_1x_coco.py'], r'atss\w+\.py is for detection'),
        (['tiny.py', '-n', '0'], '--show-number/-n: expected a whole number, at least 1'),
        (['tiny.py', '--cfg-options', 'train_dataloader=None'], 'no train_dataloader'),
        (['tiny.py', '--cfg-options', 'train_dataloader.dataset.data_root=no'], 'not found: no/'),
        (
            ['tiny.py', '--cfg-options', 'train_dataloader.dataset.img_suffix=.tif'],
            r'\*\.tif: set img_suffix',
        ),
    ],
)
def test_bad_input(run_here, tiny_config, tmp_path, capsys, args, message) -> None:
    with pytest.raises(SystemExit) as stop:
        run_here('browse_dataset.py', *args, '-o', 'out')
    assert stop.value.code == 2 and re.search(message, capsys.readouterr().err)
    assert not (tmp_path / 'out').exists()
