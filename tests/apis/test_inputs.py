"""What inferencers take as images, what they refuse, and what they write."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from vil_mm.apis import ClsInferencer, SegInferencer

BGR = r'\(H, W, 3\) in BGR order, got the shape '


@pytest.fixture(scope='session')
def inferencers(trained, trained_classifier) -> dict[str, SegInferencer | ClsInferencer]:
    weights = trained.config, trained.checkpoint
    return {
        'segmentor': SegInferencer(*weights, device='cpu', show_progress=False),
        'classifier': ClsInferencer(
            trained_classifier.config, trained_classifier.checkpoint, device='cpu'
        ),
    }


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((8, 8, 3), np.uint16), 'array of uint8, 0 to 255 in BGR order, got uint16'),
        (np.zeros((8, 8, 3), np.float32), 'array of uint8, 0 to 255 .*, got float32'),
        (np.zeros((8, 8, 3), bool), 'got bool'),
        (np.zeros((8, 8), np.uint8), BGR + r'\(8, 8\)'),
        (np.zeros((8, 8, 4), np.uint8), BGR + r'\(8, 8, 4\)'),
        (np.zeros((3, 8, 8), np.uint8), BGR + r'\(3, 8, 8\)'),
        (np.zeros((1, 8, 8, 3), np.uint8), BGR + r'\(1, 8, 8, 3\)'),
        (np.zeros((0, 8, 3), np.uint8), BGR + r'\(0, 8, 3\)'),
        (torch.zeros(8, 8, 3), r'a path or a NumPy array \(H, W, 3\), got Tensor'),
        (None, 'got NoneType'),
    ],
)
@pytest.mark.parametrize('kind', ['segmentor', 'classifier'])
def test_arrays_of_another_kind_are_refused(inferencers, kind: str, image, message: str) -> None:
    for call in (inferencers[kind], inferencers[kind].draw):
        with pytest.raises(ValueError, match=message) as error:
            call(image)
        assert '\n' not in str(error.value)


def test_files_are_read_as_the_pipeline_reads_them(segmentor, tmp_path) -> None:
    config, weights = segmentor
    own = tmp_path / 'own.py'
    own.write_text(
        f"""
_base_ = {str(config)!r}
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale', imdecode_backend='pillow'),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""
    )
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'x.png'), pixels)
    inferencer = SegInferencer(own, weights, device='cpu', show_progress=False)
    fed, forward = [], inferencer.model.test_step
    inferencer.model.test_step = lambda data: fed.append(data['inputs'][0]) or forward(data)
    grey = np.asarray(Image.fromarray(pixels[..., ::-1]).convert('L'))
    inferencer(str(tmp_path / 'x.png'))
    inferencer(tmp_path / 'x.png')
    inferencer(grey)
    inferencer.draw(tmp_path / 'x.png')
    assert len(fed) == 4 and all(np.array_equal(image, grey[None]) for image in fed)
    assert (inferencer.to_picture(tmp_path / 'x.png') == grey[..., None]).all()
    with pytest.raises(ValueError, match=r'array \(H, W, 1\) or \(H, W\), got the shape'):
        inferencer(pixels)


@pytest.mark.parametrize('kind', ['segmentor', 'classifier'])
def test_a_folder_goes_on_after_a_damaged_image(inferencers, kind, images, tmp_path) -> None:
    inferencer = inferencers[kind]
    (images / 'aa.png').write_text('no image')
    out = {'out_dir': str(tmp_path / 'out')}
    out = out if kind == 'segmentor' else {'show_dir': tmp_path / 'out' / 'vis'}
    result = inferencer(images, **out)
    assert len(result['predictions'] if kind == 'segmentor' else result) == 2
    assert inferencer.unreadable == [str(images / 'aa.png')]
    names = ['a.png', 'b.jpg' if kind == 'segmentor' else 'b.png']
    assert sorted(path.name for path in (tmp_path / 'out' / 'vis').iterdir()) == names
    inferencer(images / 'a.png')
    assert inferencer.unreadable == []
    with pytest.raises(ValueError, match=r'not an image, or a damaged one: .*aa\.png'):
        inferencer([images / 'aa.png'])
    for name in ('a.png', 'b.jpg'):
        (images / name).unlink()
    with pytest.raises(ValueError, match=r'no image in the folder can be read: .*aa\.png'):
        inferencer(images)


def test_a_batch_of_several_sizes(inferencers) -> None:
    inferencer = inferencers['segmentor']
    images = [np.full((*size, 3), 90, np.uint8) for size in ((40, 60), (60, 40), (40, 60))]
    together = inferencer(images, batch_size=3)['predictions']
    alone = [inferencer(image)['predictions'] for image in images]
    assert all((a == b).all() for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize('kind', ['segmentor', 'classifier'])
def test_a_batch_of_nothing_is_refused(inferencers, kind: str, images) -> None:
    with pytest.raises(ValueError, match='batch_size must be at least 1, got 0'):
        inferencers[kind](str(images / 'a.png'), batch_size=0)


def test_a_device_that_no_one_knows(segmentor) -> None:
    with pytest.raises(ValueError, match="device='tpu': expected cpu, cuda"):
        SegInferencer(*segmentor, device='tpu')


def test_opacity_is_of_one_call(inferencers, images) -> None:
    inferencer, image = inferencers['segmentor'], str(images / 'a.png')
    before = inferencer.draw(image)
    with pytest.raises(ValueError, match='opacity must be from 0 to 1, got 2'):
        inferencer(image, return_vis=True, opacity=2)
    inferencer(image, return_vis=True, opacity=0.1)
    assert (inferencer.draw(image) == before).all()


def test_same_names_in_two_folders(inferencers, images, tmp_path) -> None:
    (images / 'more').mkdir()
    (images / 'a.png').rename(images / 'more' / 'b.png')
    array = np.zeros((20, 20, 3), np.uint8)
    inputs = [images / 'b.jpg', images / 'more' / 'b.png', array, array]
    inferencers['segmentor'](inputs, out_dir=str(tmp_path / 'out'))
    written = {str(x.relative_to(tmp_path / 'out')) for x in (tmp_path / 'out').rglob('*.*')}
    numbered = {x for x in written if '/0' in x}
    named = {f'{kind}/{x}' for kind in ('vis', 'pred') for x in ('b', 'more/b')}
    assert {x.rsplit('.', 1)[0] for x in written - numbered} == named
    assert len(numbered) == 4


def test_bare_weights_and_no_colours(segmentor, images, tmp_path) -> None:
    config, weights = segmentor
    state = torch.load(weights, weights_only=False)['state_dict']
    torch.save(state, tmp_path / 'bare.pth')
    plain = tmp_path / 'plain.py'
    for metainfo, first in (("dict(classes=list('abcdefgh'))", 'a'), ('dict()', 'class 0')):
        plain.write_text(
            f'_base_ = {str(config)!r}\n'
            f"test_dataloader = dict(dataset=dict(type='BaseSegDataset', metainfo={metainfo}))\n"
        )
        inferencer = SegInferencer(plain, tmp_path / 'bare.pth', device='cpu')
        meta = inferencer.model.dataset_meta
        assert meta['classes'][0] == first and len(meta['classes']) == 8
        assert len({tuple(colour) for colour in meta['palette']}) == 8
        inferencer(images / 'a.png', out_dir=str(tmp_path / 'out'))
        inferencer.draw(images / 'a.png')


@pytest.mark.parametrize('scope', ['None', "'mmpretrain'", "'mmengine'", "'mmdet'"])
def test_another_default_scope(segmentor, inferencers, images, tmp_path, scope: str) -> None:
    config, weights = segmentor
    other = tmp_path / 'other.py'
    other.write_text(f'_base_ = {str(config)!r}\ndefault_scope = {scope}\n')
    expected = inferencers['segmentor'](images / 'a.png')['predictions']
    found = SegInferencer(other, weights, device='cpu')(images / 'a.png')['predictions']
    assert (found == expected).all()


@pytest.mark.parametrize('scope', ['None', "'mmseg'", "'mmengine'"])
def test_another_default_scope_of_a_classifier(
    classifier, inferencers, images, tmp_path, scope: str
) -> None:
    config, weights = classifier
    other = tmp_path / 'other.py'
    other.write_text(f'_base_ = {str(config)!r}\ndefault_scope = {scope}\n')
    (expected,), (found,) = (
        inferencer(images / 'a.png')
        for inferencer in (inferencers['classifier'], ClsInferencer(other, weights, device='cpu'))
    )
    assert (found['pred_scores'] == expected['pred_scores']).all()


def test_types_named_with_their_scope(segmentor, inferencers, images, tmp_path) -> None:
    config, weights = segmentor
    cfg = Config.fromfile(config)
    own = ('EncoderDecoder', 'UPerHead', 'FCNHead', 'CrossEntropyLoss', 'Feature2Pyramid')
    text = cfg.dump()
    for name in (*own, 'PackSegInputs', 'LoadAnnotations', 'IoUMetric'):
        text = text.replace(f"type='{name}'", f"type='mmseg.{name}'")
    other = tmp_path / 'other.py'
    other.write_text(text.replace("default_scope = 'mmseg'", "default_scope = 'mmpretrain'"))
    expected = inferencers['segmentor'](images / 'a.png')['predictions']
    found = SegInferencer(other, weights, device='cpu')(images / 'a.png')['predictions']
    assert (found == expected).all()


def test_logits_and_probabilities(inferencers, images) -> None:
    sample = inferencers['segmentor'](images / 'a.png', return_datasamples=True)
    logits = sample.seg_logits.data
    assert logits.shape == (8, 40, 64)
    assert torch.equal(logits.argmax(0), sample.pred_sem_seg.data[0])
    torch.testing.assert_close(logits.softmax(0).sum(0), torch.ones(40, 64))
