"""tools/train.py and tools/test.py on a classifier: the ImageNet pipeline in small."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def config(tmp_path: Path, write_tiny_classifier: Callable[[Path], Path]) -> Path:
    return write_tiny_classifier(tmp_path)


def scalars(work_dir: Path) -> list[dict]:
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_train_then_test(config, run_here, tmp_path, photographs, capsys) -> None:
    run_here('train.py', config)
    lines = scalars(tmp_path / 'work')
    assert [line['iter'] for line in lines if 'loss' in line] == [1, 2, 3, 4]
    validated = [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line]
    assert len(validated) == 2
    assert list((tmp_path / 'work').glob('best_accuracy_top1_iter_*.pth'))
    capsys.readouterr()

    last = tmp_path / 'work' / 'iter_4.pth'
    options = ['--out', 'predicted', '--show-dir', 'pictures', '--work-dir', 'test']
    run_here('test.py', config, last, *options)
    printed = re.search(r'accuracy/top1: ([\d.]+)', ''.join(capsys.readouterr()))
    assert float(printed[1]) == pytest.approx(validated[-1], abs=1e-3)
    with np.load(tmp_path / 'predicted' / 'predictions.npz') as found:
        assert found['pred_score'].shape == (6, 3)
        assert (found['pred_score'].argmax(1) == found['pred_label']).all()
        assert all(Path(path).is_file() for path in found['img_path'])
        right = (found['pred_label'] == found['gt_label']).sum()
    assert 100 * right / 6 == pytest.approx(validated[-1], abs=1e-3)

    pictures = sorted((tmp_path / 'pictures').glob('*.png'))
    assert len(pictures) == 6
    for picture in pictures:
        (source,) = photographs.glob(f'val/*/{picture.name.split(".")[0]}.JPEG')
        drawn, read = (
            np.array(Image.open(path).convert('RGB'))[-4:, -4:].reshape(-1, 3).mean(0)
            for path in (picture, source)
        )
        assert drawn.argmax() == read.argmax(), 'channels are in order'


def test_resumed_run_ends_with_the_weights_of_one_that_was_not_killed(
    config, run_here, tmp_path
) -> None:
    run_here('train.py', config)
    run_here(
        'train.py', config, '--work-dir', tmp_path / 'cut', '--cfg-options', 'train_cfg.max_iters=2'
    )
    run_here('train.py', config, '--work-dir', tmp_path / 'cut', '--resume')
    whole, resumed = (
        torch.load(tmp_path / folder / 'iter_4.pth', weights_only=False)['state_dict']
        for folder in ('work', 'cut')
    )
    for key in whole:
        torch.testing.assert_close(whole[key], resumed[key], rtol=0, atol=0, msg=key)


def test_wrong_number_of_classes_on_disk_is_one_clear_line(config, run_here, tmp_path, capsys):
    """Seen only when the data set is built, after the model."""
    run_here('train.py', config, '--no-validate', '--cfg-options', 'train_cfg.max_iters=2')
    folders = """
_base_ = './tiny.py'
test_dataloader = dict(
    dataset=dict(_delete_=True, type='ImageNetFolders', data_root={root!r}, num_folders=200)
)
"""
    root = str(tmp_path / 'few')
    (tmp_path / 'few' / 'n01440764').mkdir(parents=True)
    (tmp_path / 'few.py').write_text(folders.format(root=root))
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        run_here('test.py', tmp_path / 'few.py', tmp_path / 'work' / 'iter_2.pth')
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf'test\.py: {root}/? has 1 folders of classes, expected 200', line)


def test_missing_split_names_its_folder(config, run_here, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_here('train.py', config, '--cfg-options', 'train_dataloader.dataset.data_root=nowhere')
    assert exit_.value.code == 2
    assert 'train data not found: nowhere/train is missing' in capsys.readouterr().err
