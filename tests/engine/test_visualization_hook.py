"""Files of `--show-dir`: the images' names, none twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from vil_mm.engine import PictureHook, SegPanelVisualizer


class Images:
    """What the hook needs of a data set."""

    metainfo = {'classes': ('sky', 'road'), 'palette': [[0, 255, 0], [255, 0, 0]]}
    pipeline = SimpleNamespace(transforms=[LoadImageFromFile()])

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def get_data_info(self, index: int) -> dict:
        return {'img_path': str(self.paths[index])}


@pytest.fixture
def runner(tmp_path: Path) -> SimpleNamespace:
    """What the hook needs of one, over images of which two have one name."""
    paths = [tmp_path / 'images' / name for name in ('a/x.png', 'b/x.png', 'b/y.jpg')]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((300, 300, 3), (60 * i, 0, 0), np.uint8))
    dataset = Images(paths)
    visualizer = SegPanelVisualizer('hook')
    visualizer.dataset_meta = dataset.metainfo
    return SimpleNamespace(
        test_dataloader=SimpleNamespace(dataset=dataset), visualizer=visualizer, paths=paths
    )


def test_same_names_in_two_folders(runner, tmp_path, capsys) -> None:
    hook = PictureHook(str(tmp_path / 'out'))
    hook.before_test(runner)
    for path in runner.paths:
        sample = SegDataSample(metainfo=dict(img_path=str(path)))
        sample.pred_sem_seg = PixelData(data=torch.ones(1, 300, 300, dtype=torch.long))
        hook.after_test_iter(runner, 0, {}, [sample])
    hook.after_test(runner)
    assert capsys.readouterr().out == f'3 pictures in {tmp_path}/out\n'
    found = sorted(str(x.relative_to(tmp_path / 'out')) for x in (tmp_path / 'out').rglob('*.*'))
    assert found == ['a/x.png', 'b/x.png', 'y.png']
    picture = cv2.imread(str(tmp_path / 'out' / 'y.png'))
    assert abs(int(picture[100, 100, 0]) - 120) < 5, 'the input, blue'


def test_a_classifier(runner, tmp_path) -> None:
    hook = PictureHook(str(tmp_path / 'out'))
    hook.before_test(runner)
    sample = DataSample().set_gt_label(0).set_pred_score(torch.tensor([0.1, 0.9]))
    sample.set_pred_label(1).set_metainfo(dict(img_path=str(runner.paths[2])))
    hook.after_test_iter(runner, 0, {}, [sample])
    picture = cv2.imread(str(tmp_path / 'out' / 'y.png'))
    assert picture.shape == (300, 300, 3) and (picture[:30] > 200).any(), 'a caption'
