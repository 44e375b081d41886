"""`tools/image_demo.py` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
import torch


@pytest.fixture
def model(trained) -> tuple[Path, Path]:
    """Config and checkpoint of a segmentor that `tools/train.py` has trained."""
    return trained.config, trained.checkpoint


def write_images(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f'{i}.png' for i in range(count)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((40, 64, 3), 60 * i, np.uint8))
    return paths


def test_image_folder_and_video(run_here, model, tmp_path, capsys) -> None:
    paths = write_images(tmp_path / 'images', 2)
    run_here('image_demo.py', paths[0], *model, '--out', 'one.png', '--side-by-side')
    run_here('image_demo.py', tmp_path / 'images', *model, '--out', 'pictures')
    told = capsys.readouterr().out.splitlines()
    assert told[-2:] == ['pictures/0.png', 'pictures/1.png']
    assert 'one.png' in told
    wide, narrow = cv2.imread('one.png'), cv2.imread('pictures/0.png')
    assert wide.shape[1] > 1.8 * narrow.shape[1]

    writer = cv2.VideoWriter('in.mp4', cv2.VideoWriter_fourcc(*'mp4v'), 5, (64, 40))
    for path in paths:
        writer.write(cv2.imread(str(path)))
    writer.release()
    run_here('image_demo.py', 'in.mp4', *model, '--out', 'videos')
    video = mmcv.VideoReader('videos/in.mp4')
    assert len(video) == 2 and video.fps == 5
    assert not list(tmp_path.rglob('.unfinished-*'))


def test_a_folder_goes_on_after_an_image_that_cannot_be_read(
    run_here, model, tmp_path, capfd
) -> None:
    paths = write_images(tmp_path / 'images', 3)
    paths[1].write_text('no picture')
    cv2.imwrite(str(tmp_path / 'images' / 'icon.png'), np.zeros((12, 12, 3), np.uint8))
    with pytest.raises(SystemExit) as stopped:
        run_here('image_demo.py', tmp_path / 'images', *model, '--out', 'out', '--full-size')
    assert stopped.value.code == 1
    out, err = capfd.readouterr()
    assert err.splitlines()[-1] == 'image_demo.py: 1 of 4 images could not be read'
    assert f'not an image, or a damaged one: {paths[1]}' in err
    assert out.splitlines()[-3:] == ['out/0.png', 'out/2.png', 'out/icon.png']
    assert len(list((tmp_path / 'out').iterdir())) == 3


@pytest.mark.parametrize(
    ('source', 'out', 'message'),
    [
        ('nowhere.png', 'out', 'image not found: nowhere.png'),
        ('empty', 'out', 'no image in empty'),
        ('text.png', 'out', 'not an image, or a damaged one: text.png'),
        ('text.mp4', 'out', 'not a video'),
        ('images', 'out.png', 'must be a folder, because'),
        ('images', 'images', '--out images: must not be the folder of the images'),
        ('images/0.png', 'out.xyz', 'expected a folder or a file'),
        ('images/0.png', 'images/0.png', 'would overwrite the source'),
    ],
)
def test_what_cannot_be_read_or_written(
    run_here, model, tmp_path, capfd, source: str, out: str, message: str
) -> None:
    write_images(tmp_path / 'images', 1)
    (tmp_path / 'empty').mkdir()
    for name in ('text.png', 'text.mp4'):
        (tmp_path / name).write_text('no picture')
    with pytest.raises(SystemExit) as stopped:
        run_here('image_demo.py', source, *model, '--out', out)
    assert stopped.value.code == 2
    assert message in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / 'out').exists()


def test_classifier(run_here, trained_classifier, tmp_path, capsys) -> None:
    config, checkpoint, _ = trained_classifier
    (image,) = write_images(tmp_path / 'images', 1)
    run_here('image_demo.py', image, config, checkpoint, '--out', 'out', '--side-by-side')
    assert capsys.readouterr().out.splitlines()[-1] == 'out/0.png'
    assert cv2.imread('out/0.png').shape == (240, 2 * 384, 3)
    with pytest.raises(SystemExit) as stopped:
        run_here('image_demo.py', image, config, checkpoint, '--out', 'out', '--full-size')
    assert stopped.value.code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason='a machine with a GPU')
def test_gpu_that_is_not_there(run_here, model, tmp_path, capfd) -> None:
    (image,) = write_images(tmp_path / 'images', 1)
    with pytest.raises(SystemExit) as stopped:
        run_here('image_demo.py', image, *model, '--out', 'out', '--device', 'cuda')
    assert stopped.value.code == 2
    assert 'use cpu' in capfd.readouterr().err.splitlines()[-1]


def test_unknown_model(run_here, model, tmp_path, capfd) -> None:
    (image,) = write_images(tmp_path / 'images', 1)
    for config, weights, message in [
        ('no_such_model', model[1], 'no model is called'),
        ('configs/none.py', model[1], 'config not found'),
        (model[0], 'none.pth', 'checkpoint not found'),
    ]:
        with pytest.raises(SystemExit) as stopped:
            run_here('image_demo.py', image, config, weights, '--out', 'out')
        assert stopped.value.code == 2
        assert message in capfd.readouterr().err.splitlines()[-1]
