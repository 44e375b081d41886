"""Images of other channels through every tool that draws, by the config of the page."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

import vil_mm

PAGE = Path(vil_mm.__file__).parents[1] / 'docs' / 'multispectral.md'
BANDS = {1: 'uint16', 4: 'uint16', 6: 'float32'}

# The page's config for another set, made small; {...} is filled in below.
SMALL = """
_base_ = {page!r}
work_dir = {work_dir!r}
experiment_name = {name!r}
mean, std = {mean!r}, {std!r}
model = dict(
    data_preprocessor=dict(size=(64, 64), mean=mean, std=std),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=16, num_layers=8),
        img_size=64,
        in_channels={channels},
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(embed_dim=16),
    decode_head=dict(in_channels=[16] * 4, channels=8, pool_scales=(1, 2)),
    auxiliary_head=dict(in_channels=16, channels=8),
)
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(scale=(120, 90))
train_pipeline[4].update(crop_size=(64, 64))
train_pipeline.insert(6, dict(type='CenteredPad', size=(64, 64), mean=mean, bgr_to_rgb=False))
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=2, dataset=dict(data_root={data!r}, pipeline=train_pipeline), **loader
)
val_dataloader = dict(dataset=dict(data_root={data!r}), **loader)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
visualizer = dict(name={name!r})
"""


def write_set(frames: Path, root: Path, channels: int) -> tuple[list[float], list[float]]:
    """Two frames a split with near infrared and others made up; returns mean and std a band."""
    tifffile = pytest.importorskip('tifffile')
    values = []
    for split in ('train', 'val'):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for path in sorted((frames / 'images' / split).iterdir())[:2]:
            rgb = cv2.imread(str(path))[::2, ::2, ::-1].astype(np.float32)
            bands = np.concatenate((rgb, 255 - rgb), 2)[..., :channels]
            image = (40 * bands + 300).astype(BANDS[channels])
            target = root / 'images' / split / f'{path.stem}.tif'
            tifffile.imwrite(target, image.squeeze(), photometric='minisblack')
            labels = cv2.imread(str(frames / 'annotations' / split / f'{path.stem}.png'), -1)
            cv2.imwrite(str(root / 'annotations' / split / f'{path.stem}.png'), labels[::2, ::2])
            values.append(image.reshape(-1, channels).astype(float))
    values = np.concatenate(values)
    return values.mean(0).tolist(), values.std(0).tolist()


def write_config(frames: Path, folder: Path, channels: int) -> Path:
    mean, std = write_set(frames, folder / 'data', channels)
    block = re.search(r'```python\n(_base_ = .*?)```', PAGE.read_text(), re.DOTALL)[1]
    (folder / 'page.py').write_text(block.replace('./configs', str(vil_mm.CONFIG_DIR)))
    config = folder / 'small.py'
    config.write_text(
        SMALL.format(
            page=str(folder / 'page.py'),
            work_dir=str(folder / 'work'),
            name=f'multispectral_{channels}_{folder.name}',
            data=str(folder / 'data'),
            mean=mean,
            std=std,
            channels=channels,
        )
    )
    return config


@pytest.mark.parametrize(
    'channels', [4, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 6))]
)
def test_all_tools(run_here, test_data, tmp_path, capsys, channels: int) -> None:
    config = write_config(test_data / 'camvid', tmp_path, channels)
    checkpoint, images = tmp_path / 'work' / 'iter_2.pth', tmp_path / 'data' / 'images' / 'val'
    stems = sorted(path.stem for path in images.iterdir())
    run_here('train.py', config)
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    assert state['backbone.patch_embed.proj.weight'].shape[1] == channels
    run_here('test.py', config, checkpoint, '--show-dir', 'shown', '--work-dir', 'test')
    assert '2 pictures in shown' in capsys.readouterr().out
    run_here('image_demo.py', images, config, checkpoint, '--out', 'demo', '--side-by-side')
    run_here('browse_dataset.py', config, '-o', 'browsed', '--mode', 'pipeline')
    for what in ('features', 'errors'):
        image = [images / f'{stems[0]}.tif'] if what == 'features' else []
        options = [] if image else ['--index', '0']
        run_here('visualize.py', what, *image, config, checkpoint, '--out', 'x.png', *options)
    for folder in ('shown', 'demo'):
        assert sorted(path.stem for path in (tmp_path / folder).iterdir()) == stems
        assert_input_is_shown(tmp_path / folder / f'{stems[0]}.png', channels)
    assert len(list((tmp_path / 'browsed').iterdir())) == 2


def assert_input_is_shown(path: Path, channels: int) -> None:
    """The panel of the input has the contrast of the whole range, and colours or none."""
    page = cv2.imread(str(path)).astype(int)
    panel = page[60:300, 30:300]
    assert np.percentile(panel, 1) < 10 and np.percentile(panel, 99) > 245
    assert (np.ptp(panel, axis=2).max() == 0) == (channels == 1)


def test_config_of_the_page(tmp_path) -> None:
    blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    (tmp_path / 'page.py').write_text(blocks[0].replace('./configs', str(vil_mm.CONFIG_DIR)))
    cfg = Config.fromfile(tmp_path / 'page.py')
    assert len(cfg.model.data_preprocessor.mean) == cfg.model.backbone.in_channels == 4
    assert cfg.train_dataloader.dataset.pipeline[1].type == 'LoadMultispectralImage'
