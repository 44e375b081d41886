"""Malformed configs, lists, logs and results."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from malformed_weights import Call, deflated, npy, zipped


def malformed_configs(marker: Path) -> Iterator[tuple[str, bytes]]:
    """``.json`` and ``.yaml`` files, by name, that are no configs, or would run code."""
    touch = str(marker)
    files = {
        'empty.json': '',
        'cut.json': '{"model": {"type": ',
        'list.json': '[1, 2, 3]',
        'number.json': '7',
        'text.json': '"model"',
        'nan.json': '{"model": nan}',
        'model-text.json': '{"model": "VisionLSTM"}',
        'model-list.json': '{"model": [1]}',
        'model-number.json': '{"model": {"type": 3}}',
        'backbone-text.json': '{"model": {"type": "EncoderDecoder", "backbone": "x"}}',
        'nothing.json': '{}',
        'base-missing.json': '{"_base_": "./none.py"}',
        'base-number.json': '{"_base_": 3}',
        'reserved.json': '{"filename": "x", "text": "y"}',
        'deep.json': '[' * 5000,
        'empty.yaml': '',
        'tabs.yaml': 'model:\n\t- x',
        'list.yaml': '- 1\n- 2\n',
        'text.yaml': 'model',
        'nothing.yaml': 'work_dir: x',
        'object.yaml': f'x: !!python/object/apply:os.mkdir ["{touch}"]',
        'eval.yaml': f'x: !!python/object/apply:eval [\'__import__("os").mkdir("{touch}")\']',
        'name.yaml': 'x: !!python/name:os.system',
        'module.yaml': 'x: !!python/module:os',
        'new.yaml': f'x: !!python/object/new:os.mkdir ["{touch}"]',
        'unknown-tag.yaml': 'x: !thing {a: 1}',
        'loop.yaml': 'a: &a [*a]',
    }
    for name, text in files.items():
        yield name, text.encode()
    yield 'binary.json', bytes(range(256))
    yield 'utf16.json', '{"model": 1}'.encode('utf-16')
    yield 'binary.yaml', bytes(range(256))


def malformed_lists(good: str) -> Iterator[tuple[str, bytes]]:
    """Lists of images for ``ann_file``, from the name of an image."""
    yield 'blank-line', f'{good}\n\n{good}\n'.encode()
    yield 'suffix', f'{good}.png\n'.encode()
    yield 'missing-image', b'no_such_image\n'
    yield 'outside', b'../../../etc/passwd\n'
    yield 'absolute', b'/etc/passwd\n'
    yield 'binary', bytes(range(256))
    yield 'zeros', bytes(100)
    yield 'utf16', f'{good}\n'.encode('utf-16')
    yield 'latin', 'é\n'.encode('latin-1')
    yield 'long-line', b'x' * 100_000
    yield 'two-words', f'{good} 3\n'.encode()
    yield 'empty', b''
    yield 'json', b'{"images": []}'


def malformed_class_lists(good: str) -> Iterator[tuple[str, bytes]]:
    """Lists of images and labels for a classifier, from the path of an image."""
    yield 'label-text', f'{good} red\n'.encode()
    yield 'label-missing', f'{good}\n'.encode()
    yield 'label-negative', f'{good} -1\n'.encode()
    yield 'label-large', f'{good} 99\n'.encode()
    yield 'label-fraction', f'{good} 0.5\n'.encode()
    yield 'label-huge', f'{good} {10**30}\n'.encode()
    yield 'blank-line', f'{good} 0\n\n{good} 1\n'.encode()
    yield 'missing-image', b'none.JPEG 0\n'
    yield 'binary', bytes(range(256))
    yield 'empty', b''


def malformed_logs() -> Iterator[tuple[str, bytes]]:
    """Logs of a run, ``scalars.json``."""
    yield 'empty', b''
    yield 'text', b'loss is 3\n'
    yield 'cut-inside', b'{"loss": 3.0, "st\n{"loss": 3.0, "step": 1}\n'
    yield 'lists', b'[1]\n[2]\n'
    yield 'numbers', b'1\n2\n'
    yield 'words-for-numbers', b'{"loss": "a", "step": "b"}\n'
    yield 'step-missing', b'{"loss": 1.0}\n'
    yield 'nested', b'{"loss": {"a": 1}, "step": [1]}\n'
    yield 'binary', bytes(range(256))
    yield 'other-names', b'{"x": 1.0, "step": 1}\n'


def malformed_results(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Results for ``tools/confusion_matrix.py``, by name."""
    code = pickle.dumps(Call(Path.mkdir, marker))
    labels = np.zeros(3, np.int64)
    yield 'code.pkl', code
    yield 'code-renamed.npz', code
    yield 'plain.pkl', pickle.dumps([{'pred_label': 1}])
    yield 'code-inside.npz', zipped({'pred_label.npy': code, 'gt_label.npy': code})
    objects = np.array([Call(Path.mkdir, marker)], dtype=object)
    yield 'objects.npz', npz(pred_label=objects, gt_label=objects)
    yield 'objects.npy', npy(objects)
    yield 'array.npy', npy(labels)
    yield 'array.npz', npy(labels)
    good = npz(pred_label=labels, gt_label=labels)
    yield 'empty.npz', b''
    yield 'cut.npz', good[: len(good) // 2]
    yield 'random.npz', np.random.default_rng(0).bytes(500)
    yield 'nothing.npz', zipped({})
    yield 'one-array.npz', npz(pred_label=labels)
    yield 'other-names.npz', npz(a=labels, b=labels)
    yield 'fractions.npz', npz(pred_label=labels + 0.5, gt_label=labels)
    yield 'text.npz', npz(pred_label=np.array(['a']), gt_label=np.array(['b']))
    yield 'lengths.npz', npz(pred_label=labels, gt_label=labels[:2])
    yield 'two-axes.npz', npz(pred_label=labels[None], gt_label=labels[None])
    yield 'no-images.npz', npz(pred_label=labels[:0], gt_label=labels[:0])
    yield 'negative.npz', npz(pred_label=labels - 1, gt_label=labels)
    yield 'other-classes.npz', npz(pred_label=labels + 99, gt_label=labels)
    yield 'bomb.npz', deflated_npz(np.zeros(3_000_000, np.int64))
    yield 'checkpoint.npz', deflated({'state_dict': {}})


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def deflated_npz(labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name in ('pred_label.npy', 'gt_label.npy'):
            archive.writestr(name, npy(labels))
    return buffer.getvalue()
