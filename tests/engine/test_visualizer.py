"""The panel picture: which panels, which colours, and that mmseg's hook can use it."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import VISUALIZERS
from mmengine.structures import PixelData
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.structures import SegDataSample

from vil_mm.engine.visualizer import NO_CLASS, SegPanelVisualizer

CLASSES, PALETTE = ('ground', 'disc', 'star'), [[200, 0, 0], [0, 200, 0], [0, 0, 200]]
GREY, ALPHA = 100, 0.5
FACTOR, GAP, HEAD = 8, 8, 32  # a 32-pixel image is enlarged to 256; text of 16 pixels


def sample(gt=None, pred=None) -> SegDataSample:
    """A sample whose 32 x 48 maps are filled with a label, the left column of the truth ignored."""
    data_sample = SegDataSample()
    if gt is not None:
        labels = torch.full((1, 32, 48), gt)
        labels[..., 0] = 255
        data_sample.gt_sem_seg = PixelData(data=labels)
    if pred is not None:
        data_sample.pred_sem_seg = PixelData(data=torch.full((1, 32, 48), pred))
        data_sample.seg_logits = PixelData(data=torch.zeros(3, 32, 48))
    return data_sample


@pytest.fixture
def visualizer() -> SegPanelVisualizer:
    visualizer = SegPanelVisualizer(alpha=ALPHA)
    visualizer.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    return visualizer


def draw(visualizer, tmp_path, data_sample, size=(32, 48), **kwargs) -> np.ndarray:
    image = np.full((*size, 3), GREY, np.uint8)
    visualizer.add_datasample('x', image, data_sample, out_file=f'{tmp_path}/x.png', **kwargs)
    return cv2.imread(f'{tmp_path}/x.png')[..., ::-1]


def panels(picture: np.ndarray) -> list[np.ndarray]:
    """Cut the panels of an enlarged 32 x 48 image out of the picture."""
    width, height = 48 * FACTOR, 32 * FACTOR
    count, rest = divmod(picture.shape[1] - GAP, width + GAP)
    assert rest == 0
    lefts = [GAP + i * (width + GAP) for i in range(count)]
    return [picture[HEAD : HEAD + height, left : left + width] for left in lefts]


def test_colours_of_the_panels(visualizer, tmp_path):
    image, truth, prediction = panels(draw(visualizer, tmp_path, sample(gt=1, pred=2)))
    assert (image == GREY).all()
    assert (truth[:, :FACTOR] == NO_CLASS[1]).all()
    assert (truth[:, FACTOR:] == (50, 150, 50)).all()
    assert (prediction == (50, 50, 150)).all()


def test_legend_names_only_what_occurs(visualizer, tmp_path):
    picture = draw(visualizer, tmp_path, sample(gt=1, pred=2))
    legend = picture[HEAD + 32 * FACTOR + GAP :]
    found = [(legend == colour).all(axis=-1).any() for colour in PALETTE]
    assert found == [False, True, True]
    assert (legend == NO_CLASS[1]).all(axis=-1).any(), 'the left column of the truth'
    assert len(draw(visualizer, tmp_path, sample(gt=1), with_labels=False)) == len(picture) - len(
        legend
    )


def test_narrow_images_have_room_for_words(visualizer, tmp_path):
    narrow = SegDataSample(pred_sem_seg=PixelData(data=torch.zeros(1, 300, 20, dtype=torch.int)))
    visualizer.dataset_meta = dict(classes=('a rather long name', 'b'), palette=PALETTE[:2])
    picture = draw(visualizer, tmp_path, narrow, size=(300, 20), with_image=False)
    ink = (picture != 255).any(axis=(0, 2)).nonzero()[0]
    assert ink[0] > 0 and ink[-1] < picture.shape[1] - 4, 'no word touches the edge'


def test_legend_breaks_into_lines(visualizer, tmp_path):
    visualizer.dataset_meta = dict(
        classes=[f'a rather long name {i}' for i in range(40)],
        palette=[[i, i, 255] for i in range(40)],
    )
    labels = (torch.arange(32 * 48) % 40).view(1, 32, 48)
    one, many = sample(pred=0), SegDataSample(pred_sem_seg=PixelData(data=labels))
    low, high = draw(visualizer, tmp_path, one), draw(visualizer, tmp_path, many)
    assert low.shape[1] == high.shape[1] and high.shape[0] > low.shape[0] + 100
    assert (high == (39, 39, 255)).all(axis=-1).any()


@pytest.mark.parametrize(
    ('data_sample', 'options', 'count'),
    [
        (sample(pred=0), {}, 2),
        (sample(gt=0), {}, 2),
        (sample(gt=0, pred=0), dict(draw_gt=False), 2),
        (sample(gt=0, pred=0), dict(with_image=False), 2),
        (sample(gt=0, pred=0), dict(draw_gt=False, draw_pred=False), 1),
        (None, {}, 1),
    ],
    ids=['no truth', 'no prediction', 'truth unwanted', 'no input', 'nothing wanted', 'no sample'],
)
def test_what_is_missing_is_left_out(visualizer, tmp_path, data_sample, options, count):
    assert len(panels(draw(visualizer, tmp_path, data_sample, **options))) == count


@pytest.mark.parametrize(('size', 'factor'), [((100, 60), 3), ((256, 40), 1), ((300, 500), 1)])
def test_enlarged_by_a_whole_factor(visualizer, tmp_path, size, factor):
    labels = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
    picture = draw(visualizer, tmp_path, SegDataSample(pred_sem_seg=labels), size)
    colours = (picture == (150, 50, 50)).all(axis=-1)
    assert colours.sum() == factor**2 * size[0] * size[1]


def test_labels_of_another_size_are_fitted(visualizer, tmp_path):
    picture = draw(visualizer, tmp_path, sample(pred=1), size=(64, 96))
    assert (picture == (50, 150, 50)).all(axis=-1).sum() == 256 * 384


def test_get_image_gives_the_picture(visualizer, tmp_path):
    picture = draw(visualizer, tmp_path, sample(gt=1, pred=2))
    assert np.array_equal(visualizer.get_image(), picture)


def test_mmseg_hook_writes_a_picture(tmp_path):
    image_path = f'{tmp_path}/street.png'
    cv2.imwrite(image_path, np.full((32, 48, 3), GREY, np.uint8))
    visualizer = VISUALIZERS.build(
        dict(
            type='SegPanelVisualizer',
            name='test_visualizer',
            vis_backends=[dict(type='LocalVisBackend')],
            save_dir=str(tmp_path),
            _scope_='mmseg',
        )
    )
    visualizer.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    hook, data_sample = SegVisualizationHook(draw=True), sample(gt=1, pred=2)
    assert hook._visualizer is visualizer
    data_sample.set_metainfo(dict(img_path=image_path))
    hook.after_test_iter(SimpleNamespace(), 0, {}, [data_sample])
    (written,) = tmp_path.rglob('vis_image/*.png')
    assert written.name == 'test_street.png_1.png'
    assert len(panels(cv2.imread(str(written)))) == 3
