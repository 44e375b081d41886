"""Streams against the whole: the same windows added up in full size, PyTorch's own resizing."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vil_mm.models.segmentors import Tiling, tiled_argmax, tiling
from vil_mm.models.segmentors.tiling import cut_rows, logit_rows, resize_rows

CASES = [  # size, crop, stride
    pytest.param((40, 56), (16, 16), (16, 16), id='divisible'),
    pytest.param((37, 53), (16, 16), (11, 11), id='odd, overlapping'),
    pytest.param((37, 53), (16, 24), (5, 7), id='many overlaps'),
    pytest.param((9, 11), (16, 16), (11, 11), id='smaller than the window'),
    pytest.param((9, 50), (16, 16), (11, 11), id='lower than the window'),
    pytest.param((50, 9), (16, 16), (11, 11), id='narrower than the window'),
    pytest.param((16, 16), (16, 16), (11, 11), id='one window'),
    pytest.param((17, 16), (16, 16), (16, 16), id='one row more'),
    pytest.param((20, 70), (16, 16), (16, 9), id='a strip'),
]


@pytest.fixture(params=[1, 10**9], ids=['row by row', 'in large blocks'], autouse=True)
def block_elements(request, monkeypatch) -> None:
    monkeypatch.setattr(tiling, 'BLOCK_ELEMENTS', request.param)


def model(classes: int = 5) -> nn.Module:
    """Logits that depend on where a pixel is in its window, so that overlaps matter."""
    torch.manual_seed(0)
    return nn.Conv2d(3, classes, 3, padding=1)


def full_size(image: Tensor, predict: nn.Module, tiles: Tiling) -> Tensor:
    """``(K, H, W)``, with every window as written down by mmseg's slide inference."""
    (height, width), (crop_h, crop_w) = image.shape[1:], tiles.crop_size
    sums, count = 0.0, torch.zeros(height, width)
    for top in range(0, max(height - crop_h, 0) + tiles.stride[0], tiles.stride[0]):
        for left in range(0, max(width - crop_w, 0) + tiles.stride[1], tiles.stride[1]):
            bottom, right = min(top + crop_h, height), min(left + crop_w, width)
            box = slice(max(bottom - crop_h, 0), bottom), slice(max(right - crop_w, 0), right)
            logits = predict(image[None, :, box[0], box[1]])[0]
            part = torch.zeros(len(logits), height, width)
            part[:, box[0], box[1]] = logits
            sums = sums + part
            count[box] += 1
    return sums / count


@pytest.mark.parametrize('batch_size', [1, 3])
@pytest.mark.parametrize(('size', 'crop', 'stride'), CASES)
def test_labels_and_logits_are_those_of_the_full_sum(size, crop, stride, batch_size) -> None:
    predict, image = model(), torch.randn(3, *size)
    with torch.no_grad():
        expected = full_size(image, predict, Tiling(crop, stride))
        tiles = Tiling(crop, stride, batch_size)
        blocks = logit_rows(
            size,
            lambda boxes: predict(torch.stack([image[:, t:b, le:r] for t, b, le, r in boxes])),
            tiles,
        )
        got = torch.cat(list(blocks)).transpose(0, 1)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    labels = tiled_argmax(image, predict, tiles)
    assert labels.dtype == torch.uint8 and labels.shape == size
    assert torch.equal(labels.long(), expected.argmax(0))


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('out_size', [(37, 53), (80, 53), (37, 21), (11, 90), (200, 3), (1, 1)])
def test_resized_rows_are_those_of_interpolate(out_size, align_corners) -> None:
    logits = torch.randn(5, 37, 53)
    options = dict(mode='bilinear', align_corners=align_corners)
    expected = F.interpolate(logits[None], out_size, **options)[0]
    for cuts in ([37], [1] * 37, [5, 17, 1, 14]):
        blocks = logits.transpose(0, 1).split(cuts)
        got = torch.cat(list(resize_rows(blocks, (37, 53), out_size, align_corners)))
        torch.testing.assert_close(got.transpose(0, 1), expected, rtol=1e-5, atol=2e-5)


def test_long_images_are_resized_as_interpolate_does() -> None:
    """Positions are rounded to float32 there, at row 8000 by 2^-11, with FMA or without."""
    logits = torch.randn(2, 8191, 1)
    expected = F.interpolate(logits[None], (7003, 1), mode='bilinear')[0]
    blocks = resize_rows(logits.transpose(0, 1).split(100), (8191, 1), (7003, 1), False)
    got = torch.cat(list(blocks)).transpose(0, 1)
    torch.testing.assert_close(got, expected, rtol=0, atol=3e-3)


def test_a_region_is_cut_out() -> None:
    logits = torch.randn(20, 4, 30)
    blocks = cut_rows(logits.split([3, 1, 9, 7]), (4, 15, 2, 28))
    assert torch.equal(torch.cat(list(blocks)), logits[4:15, :, 2:28])


@pytest.mark.parametrize('size', [(30, 44), (30, 70)], ids=['by rows', 'by columns'])
def test_region_and_size_together(size) -> None:
    predict, image, tiles = model(), torch.randn(3, *size), Tiling((16, 24), (10, 9))
    with torch.no_grad():
        kept = full_size(image, predict, tiles)[None, :, 3:28, 1:40]
    expected = F.interpolate(kept, (61, 35), mode='bilinear')[0].argmax(0)
    got = tiled_argmax(image, predict, tiles, region=(3, 28, 1, 40), out_size=(61, 35))
    assert got.is_contiguous() and torch.equal(got.long(), expected)


def test_one_class_is_a_threshold() -> None:
    predict, image, tiles = model(classes=1), torch.randn(3, 30, 30), Tiling((16, 16), (9, 9))
    with torch.no_grad():
        expected = full_size(image, predict, tiles)[0].sigmoid() > 0.6
    got = tiled_argmax(image, predict, tiles, threshold=0.6)
    assert torch.equal(got, expected.to(torch.uint8)) and 0 < got.sum() < got.numel()


@pytest.mark.parametrize(('classes', 'dtype'), [(255, torch.uint8), (256, torch.int16)])
def test_255_stays_free(classes, dtype) -> None:
    def last(windows: Tensor) -> Tensor:
        logits = torch.zeros(len(windows), classes, 8, 8)
        logits[:, -1] = 1
        return logits

    got = tiled_argmax(torch.zeros(3, 10, 10), last, Tiling((8, 8), (8, 8)))
    assert got.dtype == dtype and (got == classes - 1).all()


def test_half_precision_is_added_in_float32() -> None:
    predict = model().half()
    blocks = logit_rows((20, 20), lambda boxes: predict(torch.ones(1, 3, 8, 8).half()), TILES)
    assert next(blocks).dtype == torch.float32


TILES = Tiling((8, 8), (4, 4))


def test_the_band_alone_is_held() -> None:
    """Blocks come between rows of windows, and what is left of the band is used again."""
    asked = []

    def logits_of(boxes):
        asked.append(boxes[0][0])
        return torch.ones(len(boxes), 2, 8, 8)

    rows, seen = 0, []
    for block in logit_rows((100, 20), logits_of, Tiling((8, 8), (4, 4), batch_size=9)):
        rows += len(block)
        seen.append((max(asked), rows))
        assert torch.equal(block, torch.ones_like(block)), 'averaged over clean places'
    assert all(last <= rows <= last + 8 for last, rows in seen)
    assert rows == 100 and asked == list(range(0, 93, 4))


def test_progress_counts_windows() -> None:
    steps = []
    tiles = Tiling((8, 8), (5, 5), batch_size=2)
    tiled_argmax(torch.zeros(3, 20, 24), model(), tiles, progress=lambda *x: steps.append(x))
    total = tiles.count((20, 24))
    assert total == 4 * 5 and steps[-1] == ('windows', total, total)
    done = [0, *(step[1] for step in steps)]
    assert {after - before for before, after in pairwise(done)} == {1, 2}


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(crop_size=(8, 8), stride=(9, 8)), 'no prediction'),
        (dict(crop_size=(8, 0), stride=(8, 1)), 'at least 1'),
        (dict(crop_size=(8, 8), stride=(8, 8), batch_size=0), 'at least 1'),
    ],
)
def test_tiles_that_cannot_be(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        Tiling(**options)


def test_logits_of_another_size() -> None:
    with pytest.raises(ValueError, match=r'1 windows of 8x8 pixels need logits .*\(1, 2, 4, 4\)'):
        tiled_argmax(torch.zeros(3, 9, 9), lambda x: torch.zeros(len(x), 2, 4, 4), TILES)


def test_a_batch_is_refused_in_words() -> None:
    with pytest.raises(
        ValueError, match=r'takes one image \(C, H, W\), got the shape \(1, 3, 9, 9\)'
    ):
        tiled_argmax(torch.zeros(1, 3, 9, 9), model(), Tiling((8, 8), (8, 8)))
