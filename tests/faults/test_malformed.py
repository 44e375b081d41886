"""Malformed files at every entry point end in one line; no code of theirs runs.

``pytest tests/faults/test_malformed.py -m slow -s`` tries all and prints a table; without
``-m slow``, a sample of each kind is tried.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from bench import Bench, check, put, replace
from entry_points import LINE, Trial, run_tool
from malformed_images import malformed_films, malformed_images, malformed_masks, pixels
from malformed_states import malformed_states
from malformed_texts import (
    malformed_class_lists,
    malformed_configs,
    malformed_lists,
    malformed_logs,
    malformed_results,
)
from malformed_weights import (
    damaged_files,
    malformed_meta,
    malformed_safetensors,
    malformed_weights,
    pickles_with_code,
)
from PIL import Image

from vil_mm.apis import SegInferencer

OTHER_SIZES = ('smaller', 'a-row-less', 'one-pixel', 'larger')  # predicted maps are resized
SAMPLED = 25  # every so many files of a kind, at the entry points that take least time


def try_checkpoints(bench: Bench) -> None:
    good = bench.content(bench.segmentor)
    raw, marker = bench.segmentor.checkpoint.read_bytes(), bench.trial.marker
    entries = bench.checkpoints()
    check(bench, entries, bench.segmentor.checkpoint)
    put(bench, 'damaged file', bench.some(damaged_files(raw)), entries, '.pth')
    put(bench, 'pickle with code', bench.some(pickles_with_code(good, marker)), entries, '.pth')
    put(bench, 'weights', bench.some(malformed_weights(good)), entries, '.pth')
    put(bench, 'meta', bench.some(malformed_meta(good)), entries, '.pth')
    put(bench, 'safetensors', bench.some(malformed_safetensors(good)), entries, '.safetensors')


def try_class_checkpoints(bench: Bench) -> None:
    good = bench.content(bench.classifier)
    entries, marker = bench.class_checkpoints(), bench.trial.marker
    check(bench, entries, bench.classifier.checkpoint)
    put(bench, 'cls weights', bench.some(malformed_weights(good)), entries, '.pth')
    put(bench, 'cls meta', bench.some(malformed_meta(good)), entries, '.pth')
    put(bench, 'cls code', bench.some(pickles_with_code(good, marker)), entries, '.pth')


def try_states(bench: Bench) -> None:
    good = bench.content(bench.segmentor, 'iter_2.pth')
    check(bench, {'--resume': bench.resume}, bench.segmentor.work_dir / 'iter_2.pth')
    for name, content in bench.some(malformed_states(good, bench.trial.marker)):
        path = bench.folder / 'state.pth'
        path.write_bytes(content)
        bench.trial.run(f'state/{name}', 'train.py --resume', partial(bench.resume, path), 'iter_2')


def try_images(bench: Bench) -> None:
    entries = bench.images()
    check(bench, entries, bench.image)
    put(bench, 'image', bench.some(malformed_images()), entries, '.png')
    inside = sorted(bench.drawn.glob('images/training/*'))[3]
    replace(bench, 'image of a set', bench.some(malformed_images()), inside, bench.data())
    tested = sorted(bench.drawn.glob('images/validation/*'))[1]
    replace(bench, 'image of a set', bench.some(malformed_images()), tested, bench.validation())


def try_masks(bench: Bench) -> None:
    for entries in (bench.data(), bench.validation()):
        check(bench, entries, bench.image)
    for split, entries in (('training', bench.data()), ('validation', bench.validation())):
        target = sorted(bench.drawn.glob(f'annotations/{split}/*'))[1]
        height, width = np.array(Image.open(target)).shape
        files = bench.some(malformed_masks(height, width, 8))
        replace(bench, 'label map', files, target, entries)
    maps = bench.folder / 'maps'
    if not maps.is_dir():
        shutil.copytree(bench.drawn / 'annotations' / 'validation', maps)
    target = sorted(maps.iterdir())[1]
    files = [x for x in malformed_masks(*np.array(Image.open(target)).shape, 8)
             if x[0] not in OTHER_SIZES]  # fmt: skip
    options = bench.places(bench.drawn, 'test')
    entries = {'confusion_matrix.py maps': lambda _: run_tool(
        'confusion_matrix.py', bench.segmentor.config, maps, *options)}  # fmt: skip
    replace(bench, 'predicted map', bench.some(files), target, entries)


def try_films(bench: Bench) -> None:
    path = bench.folder / 'film.mp4'
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 5, (80, 64))
    for frame in pixels(3, 64, 80, 3):
        film.write(frame)
    film.release()
    good = path.read_bytes()
    config, checkpoint, _ = bench.segmentor
    entries = {'image_demo.py': lambda x: run_tool(
        'image_demo.py', x, config, checkpoint, '--out', 'o.mp4')}  # fmt: skip
    put(bench, 'film', bench.some(malformed_films(good)), entries, '.mp4')


def try_texts(bench: Bench) -> None:
    config, checkpoint, _ = bench.segmentor
    put(
        bench, 'config', bench.some(malformed_configs(bench.trial.marker)),
        {
            'train.py': lambda x: run_tool('train.py', x, '--work-dir', 'w'),
            'test.py': lambda x: run_tool('test.py', x, checkpoint, '--work-dir', 'w'),
            'get_flops.py': lambda x: run_tool('get_flops.py', x, '--shape', '32'),
            'image_demo.py': lambda x: run_tool(
                'image_demo.py', bench.image, x, checkpoint, '--out', 'o.png'
            ),
            'prepare_data.py': lambda x: run_tool('prepare_data.py', x),
            'SegInferencer': lambda x: SegInferencer(x, device='cpu'),
        },
        named=False,
    )  # fmt: skip
    options = bench.places(bench.drawn, 'train', 'val', 'test')

    def of_train(x: Path) -> list[str]:
        return [*options, f'train_dataloader.dataset.ann_file={x}']

    good = sorted(bench.drawn.glob('images/training/*'))[0].stem
    put(
        bench, 'list', bench.some(malformed_lists(good)),
        {
            'train.py': lambda x: run_tool('train.py', config, '--work-dir', 'w', *of_train(x)),
            'prepare_data.py': lambda x: run_tool('prepare_data.py', config, *of_train(x)),
            'browse_dataset.py': lambda x: run_tool(
                'browse_dataset.py', config, '-o', 'p', *of_train(x)
            ),
        },
        '.txt',
    )  # fmt: skip
    photo = sorted(bench.photographs.glob('train/*/*'))[0].relative_to(bench.photographs / 'train')

    def of_classes(x: Path) -> list[str]:
        return [*bench.places(bench.photographs, 'train', 'val'),
                f'train_dataloader.dataset.ann_file={x}']  # fmt: skip

    cls = bench.classifier.config
    put(
        bench, 'list of classes', bench.some(malformed_class_lists(str(photo))),
        {
            'train.py': lambda x: run_tool('train.py', cls, '--work-dir', 'w', *of_classes(x)),
            'prepare_data.py': lambda x: run_tool('prepare_data.py', cls, *of_classes(x)),
        },
        '.txt',
        named=False,
    )  # fmt: skip
    put(
        bench, 'log', bench.some(malformed_logs()),
        {'analyze_logs.py': lambda x: run_tool('analyze_logs.py', x)}, '.json', named=False,
    )  # fmt: skip
    entries = {'confusion_matrix.py results': lambda x: run_tool('confusion_matrix.py', cls, x)}
    put(bench, 'results', bench.some(malformed_results(bench.trial.marker)), entries, named=False)


TRIES = (try_checkpoints, try_class_checkpoints, try_states, try_images, try_masks, try_films,
         try_texts)  # fmt: skip


def failures(trial: Trial) -> str:
    wrong = [key for key, outcome in trial.outcomes.items() if outcome != LINE]
    return '\n'.join(
        f'--- {trial.outcomes[key]}: {key[0]} at {key[1]}\n{trial.details[key][-1500:]}'
        for key in wrong
    )


@pytest.fixture(scope='module')
def make_bench(tmp_path_factory, trained, trained_classifier, drawn_data, photographs):
    def make(step: int) -> Bench:
        folder = tmp_path_factory.mktemp('bench')
        return Bench(folder, trained, trained_classifier, drawn_data, photographs, step)

    return make


@pytest.fixture(scope='module')
def bench(make_bench: Callable[[int], Bench]) -> Bench:
    return make_bench(1)


@pytest.mark.parametrize('attempt', TRIES, ids=lambda x: x.__name__)
def test_a_sample(make_bench: Callable[[int], Bench], attempt: Callable) -> None:
    sample = make_bench(SAMPLED)
    attempt(sample)
    assert sample.trial.outcomes and not failures(sample.trial), failures(sample.trial)


@pytest.mark.slow
@pytest.mark.parametrize('attempt', TRIES, ids=lambda x: x.__name__)
def test_all(bench: Bench, attempt: Callable) -> None:
    attempt(bench)


@pytest.mark.slow
def test_counts(bench: Bench, capsys) -> None:
    """After ``test_all``: the table of all, and what went wrong."""
    with capsys.disabled():
        print(f'\n{bench.trial.table()}')
    assert not failures(bench.trial), failures(bench.trial)
    assert len({file for file, _ in bench.trial.outcomes}) >= 300
