"""Inference by name and by path, on images and folders."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.apis import ImageClassificationInferencer
from mmseg.apis import MMSegInferencer

import vil_mm
from vil_mm.apis import ClsInferencer, SegInferencer, segmentation
from vil_mm.checkpoints import to_official
from vil_mm.checkpoints.reading import CheckpointError

WINDOWS = {'mode': 'slide', 'crop_size': [32, 32], 'stride': [16, 16]}


def test_segments_a_folder_and_leaves_other_files_out(segmentor, images, tmp_path) -> None:
    inferencer = SegInferencer(*segmentor, device='cpu', show_progress=False)
    result = inferencer(str(images), out_dir=str(tmp_path / 'out'))
    assert [labels.shape for labels in result['predictions']] == [(40, 64), (64, 50)]
    assert sorted(path.name for path in (tmp_path / 'out/vis').iterdir()) == ['a.png', 'b.jpg']
    assert sorted(path.name for path in (tmp_path / 'out/pred').iterdir()) == ['a.png', 'b.png']
    for name, labels in zip('ab', result['predictions'], strict=True):
        written = cv2.imread(str(tmp_path / f'out/pred/{name}.png'), cv2.IMREAD_UNCHANGED)
        assert (written == labels).all()
    assert inferencer.model.dataset_meta['classes'][0] == 'ground'


def test_same_labels_as_the_inferencer_of_mmseg(segmentor, images) -> None:
    config, weights = segmentor
    image = str(images / 'a.png')
    theirs = MMSegInferencer(str(config), str(weights), device='cpu', show_progress=False)
    ours = SegInferencer(config, weights, device='cpu', show_progress=False)
    assert (theirs(image)['predictions'] == ours(image)['predictions']).all()


def test_large_images_are_predicted_in_tiles(segmentor, images, monkeypatch) -> None:
    inferencer = SegInferencer(
        *segmentor,
        device='cpu',
        show_progress=False,
        cfg_options={'model.test_cfg': WINDOWS},
    )
    whole = inferencer(str(images / 'a.png'), return_datasamples=False)['predictions']
    monkeypatch.setattr(segmentation, 'LOGITS_LIMIT', 1000)
    image = cv2.imread(str(images / 'a.png'))
    (sample,) = inferencer.forward(inferencer.collate_fn([inferencer.pipeline(image)]))
    assert 'seg_logits' not in sample  # tiles do not keep them
    assert (sample.pred_sem_seg.data[0].numpy() == whole).all()
    assert inferencer.model.test_cfg.mode == 'slide'


def test_full_size_leaves_the_image_as_it_is(segmentor) -> None:
    image = np.zeros((100, 150, 3), np.uint8)
    scaled = SegInferencer(*segmentor, device='cpu')
    full = SegInferencer(*segmentor, device='cpu', full_size=True)
    assert scaled.pipeline(image)['inputs'].shape == (3, 64, 96)
    assert full.pipeline(image)['inputs'].shape == (3, 100, 150)
    assert full.model.test_cfg.mode == 'slide' and full.model.test_cfg.crop_size == (64, 64)


def test_weights_of_another_model_are_refused(segmentor, classifier, tmp_path) -> None:
    with pytest.raises(CheckpointError, match='does not fit'):
        SegInferencer(segmentor[0], classifier[1], device='cpu')
    with pytest.raises(CheckpointError, match='does not fit'):
        ClsInferencer(classifier[0], segmentor[1], device='cpu')
    with pytest.raises(FileNotFoundError, match='checkpoint not found'):
        SegInferencer(segmentor[0], tmp_path / 'none.pth', device='cpu')


def test_weights_of_a_wrapped_model_are_loaded(segmentor, classifier, tmp_path) -> None:
    for inferencer, (config, weights) in ((SegInferencer, segmentor), (ClsInferencer, classifier)):
        state = torch.load(weights, weights_only=False)['state_dict']
        torch.save({f'module.{key}': x + 1 for key, x in state.items()}, tmp_path / 'wrapped.pth')
        loaded = inferencer(config, tmp_path / 'wrapped.pth', device='cpu').model.state_dict()
        assert all(torch.equal(loaded[key], x + 1) for key, x in state.items())


def test_names_of_classes_are_those_of_the_checkpoint(segmentor, tmp_path, capfd) -> None:
    config, weights = segmentor
    content = torch.load(weights, weights_only=False)
    content['meta']['dataset_meta'] |= {'classes': tuple('abcdefgh')}
    torch.save(content, tmp_path / 'renamed.pth')
    inferencer = SegInferencer(config, tmp_path / 'renamed.pth', device='cpu')
    assert inferencer.model.dataset_meta['classes'] == tuple('abcdefgh')
    assert 'Could not safely load' not in ''.join(capfd.readouterr())


def test_draws_a_class_on_the_image(classifier, images) -> None:
    inferencer = ClsInferencer(*classifier, device='cpu')
    image = cv2.imread(str(images / 'a.png'))
    alone = inferencer.draw(image)
    assert alone.shape == (240, 384, 3), 'enlarged, so that the caption can be read'
    large = cv2.resize(image, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)[..., ::-1]
    assert (alone != large).any()
    both = inferencer.draw(image, side_by_side=True)
    assert (both[:, :384] == large).all() and (both[:, 384:] == alone).all()
    with pytest.raises(TypeError):
        inferencer.draw(image, typo=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason='a machine with a GPU')
def test_gpu_that_is_not_there(segmentor, classifier) -> None:
    for inferencer, (config, weights) in ((SegInferencer, segmentor), (ClsInferencer, classifier)):
        with pytest.raises(ValueError, match='finds no GPU here'):
            inferencer(config, weights, device='cuda:1')


def test_config_of_a_part(tmp_path) -> None:
    part = vil_mm.CONFIG_DIR / '_base_' / 'default_runtime.py'
    with pytest.raises(ValueError, match='not for segmentation'):
        SegInferencer(part)
    (tmp_path / 'bad.py').write_text('model = dict(')
    with pytest.raises(ValueError, match='cannot be read as a config'):
        SegInferencer(tmp_path / 'bad.py')


def test_configs_of_the_other_task_are_refused(segmentor, classifier) -> None:
    with pytest.raises(ValueError, match='ClsInferencer'):
        SegInferencer(classifier[0], device='cpu')
    with pytest.raises(ValueError, match='SegInferencer'):
        ClsInferencer(segmentor[0], device='cpu')


def test_by_name_without_weights() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of mmseg, that the weights are random
        inferencer = SegInferencer('upernet_vil_t_512x512_ade20k', device='cpu')
    assert len(inferencer.model.dataset_meta['classes']) == 150
    with pytest.raises(ValueError, match='did you mean'):
        SegInferencer('upernet_vil_t_512x512_ade')


def test_official_weights_of_a_classifier_work_as_they_are(classifier, images, tmp_path) -> None:
    config, weights = classifier
    official = tmp_path / 'official.th'
    state = torch.load(weights, weights_only=False)['state_dict']
    torch.save({'state_dict': to_official(state)}, official)
    expected = ClsInferencer(config, weights, device='cpu')(str(images))
    found = ClsInferencer(config, official, device='cpu')(str(images))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one['pred_scores'], other['pred_scores'], atol=1e-6)
    assert found[0]['pred_scores'].shape == (3,)


def test_same_scores_as_the_inferencer_of_mmpretrain(classifier, images) -> None:
    config, weights = classifier
    image = str(images / 'a.png')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs = ImageClassificationInferencer(str(config), pretrained=str(weights), device='cpu')
    ours = ClsInferencer(config, weights, device='cpu', classes=['cat', 'dog', 'fox'])
    (one,), (other,) = theirs(image), ours(image)
    assert (one['pred_scores'] == other['pred_scores']).all()
    assert other['pred_class'] in ('cat', 'dog', 'fox')


def test_folder_without_images(segmentor, tmp_path) -> None:
    inferencer = SegInferencer(*segmentor, device='cpu')
    with pytest.raises(ValueError, match='no image in'):
        inferencer(str(tmp_path))


@pytest.mark.parametrize('task', ['segmentor', 'classifier'])
def test_fewer_names_than_classes(request, tmp_path, task: str) -> None:
    config, checkpoint = request.getfixturevalue(task)
    content = torch.load(checkpoint, weights_only=False)
    content['meta']['dataset_meta']['classes'] = ('one', 'two')
    torch.save(content, tmp_path / 'x.pth')
    kind = {'segmentor': SegInferencer, 'classifier': ClsInferencer}[task]
    with pytest.raises(ValueError, match=r'x\.pth names 2 classes, but the model has \d'):
        kind(config, tmp_path / 'x.pth', 'cpu')
