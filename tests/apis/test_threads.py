"""One inferencer, used by several threads at once."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from vil_mm.apis import ClsInferencer, SegInferencer, segmentation

THREADS = 4
FIXTURE = {SegInferencer: 'segmentor', ClsInferencer: 'classifier'}
SIZES = [(24, 40), (64, 96), (33, 70), (96, 64), (48, 48), (80, 121)]  # some above the limit
WHOLE = {'model.test_cfg': {'mode': 'whole', 'crop_size': [32, 32], 'stride': [16, 16]}}


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    """Threads take turns every 10 microseconds, so that rare orders of events occur."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Images of mixed sizes."""
    paths = [tmp_path / f'{height}x{width}.png' for height, width in SIZES]
    for seed, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        cv2.imwrite(str(path), pixels)
    return paths


def in_threads(work: Callable[[int], object]) -> list:
    """Results of ``work(0)`` to ``work(THREADS - 1)``, begun together."""
    start = threading.Barrier(THREADS)

    def run(number: int) -> object:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def test_segmentations_of_mixed_sizes(segmentor, files, monkeypatch) -> None:
    inferencer = SegInferencer(*segmentor, device='cpu', full_size=True, cfg_options=WHOLE)
    inferencer.model.test_cfg.mode = 'whole'  # no windows: tiles differ from it
    monkeypatch.setattr(segmentation, 'LOGITS_LIMIT', 4 * inferencer.model.num_classes * 3000)
    alone = [inferencer(path, return_datasamples=True) for path in files]
    assert {'seg_logits' in sample for sample in alone} == {True, False}, 'some of each mode'
    settings = copy.deepcopy(inferencer.model.test_cfg)

    def predict(number: int) -> list:
        turned = np.roll(np.arange(len(files)), number)  # each thread begins with another image
        return [(i, inferencer(files[i], return_datasamples=True)) for i in turned]

    for i, sample in chain(*in_threads(predict)):
        assert ('seg_logits' in sample) == ('seg_logits' in alone[i]), SIZES[i]
        assert (sample.pred_sem_seg.data == alone[i].pred_sem_seg.data).all(), SIZES[i]
    assert inferencer.model.test_cfg == settings


def test_classifications_of_mixed_sizes(classifier, files) -> None:
    inferencer = ClsInferencer(*classifier, device='cpu')
    alone = inferencer(files)

    def predict(number: int) -> list:
        turned = np.roll(np.arange(len(files)), number)
        return [(i, inferencer(files[i])[0]) for i in np.tile(turned, 5)]

    for i, result in chain(*in_threads(predict)):
        assert np.allclose(result['pred_scores'], alone[i]['pred_scores'], atol=1e-5), SIZES[i]


@pytest.mark.parametrize('kind', [SegInferencer, ClsInferencer])
def test_each_thread_lists_its_own_unreadable_images(request, kind, files, tmp_path) -> None:
    inferencer = kind(*request.getfixturevalue(FIXTURE[kind]), device='cpu')
    for number in range(THREADS):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / 'good.png').write_bytes(files[0].read_bytes())
        for bad in range(number):
            (folder / f'bad_{bad}.png').write_text('no image')

    def predict(number: int) -> list[str]:
        inferencer(tmp_path / str(number))
        return [Path(path).relative_to(tmp_path).as_posix() for path in inferencer.unreadable]

    for number, unreadable in enumerate(in_threads(predict)):
        assert unreadable == [f'{number}/bad_{bad}.png' for bad in range(number)]


def test_each_thread_writes_its_own_files(segmentor, files, tmp_path) -> None:
    inferencer = SegInferencer(*segmentor, device='cpu')
    arrays = [cv2.imread(str(path)) for path in files]

    def predict(number: int, out: str = '') -> dict:
        inferencer(arrays[number], out_dir=out and f'{out}_arrays')
        return inferencer(files[number], out_dir=out, return_vis=True, opacity=0.3 * number)

    alone = [predict(number) for number in range(THREADS)]
    before = inferencer.visualizer.alpha
    out = tmp_path / 'out'
    for path, one, other in zip(
        files, alone, in_threads(lambda number: predict(number, str(out))), strict=False
    ):
        assert np.array_equal(one['visualization'], other['visualization'])
        written = cv2.imread(str(out / 'pred' / path.name), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(written, one['predictions'])
    assert len(list((tmp_path / 'out_arrays' / 'pred').iterdir())) == THREADS
    assert inferencer.visualizer.alpha == before


@pytest.mark.parametrize('kind', [SegInferencer, ClsInferencer])
def test_building_in_threads_leaves_the_default_scope(request, kind) -> None:
    parts = request.getfixturevalue(FIXTURE[kind])
    with DefaultScope.overwrite_default_scope('mmengine'):
        built = in_threads(lambda _: kind(*parts, device='cpu'))
        assert DefaultScope.get_current_instance().scope_name == 'mmengine'
    assert len({id(inferencer.model) for inferencer in built}) == THREADS
