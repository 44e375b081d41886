"""Malformed checkpoints, made from a good one."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

State = OrderedDict[str, Tensor]
# these are weights, but not those of the model
FOR_OTHERS = (
    'names-upper', 'names-prefixed', 'bias-scalar', 'weight-scalar', 'weight-empty',
    'weight-transposed', 'weight-flat', 'weight-axis-more', 'weight-row-less', 'gate-row-more',
    'all-', 'missing-', 'position-scalar', 'position-one', 'position-tokens', 'position-five',
    'position-other', 'position-no', 'position-two', 'position-channels', 'bare-position',
    'weight-text', 'weight-none', 'weight-number', 'weight-list', 'weight-array',
)  # fmt: skip
POSITION = 'backbone.pos_embed.embed'
WEIGHT = 'backbone.blocks.0.layers.0.proj_up.weight'
BIAS = 'backbone.patch_embed.proj.bias'
GATE = 'backbone.blocks.1.layers.1.scans.0.igate.weight'


class Call:
    """Pickled, it calls a function when it is loaded."""

    def __init__(self, function: Callable, *args: object, state: object = None) -> None:
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple:
        return self.call


def save(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def damaged_files(good: bytes) -> Iterator[tuple[str, bytes]]:
    """Bytes that are no checkpoint, or not all of one."""
    for share in (0.02, 0.3, 0.6, 0.9):
        yield f'cut-at-{share}', good[: int(share * len(good))]
    yield 'cut-before-last', good[:-1]
    yield 'empty', b''
    yield 'one-byte', b'P'
    yield 'signature', b'PK\x03\x04'
    yield 'random', np.random.default_rng(0).bytes(5000)
    yield 'zeros', bytes(5000)
    yield 'text', b'checkpoint, not found\n'
    yield 'web-page', b'<!DOCTYPE html><html><body>404</body></html>'
    yield 'git-lfs', b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n'
    yield 'json', json.dumps({'state_dict': {'a': [1.0]}}).encode()
    yield 'gzipped', gzip.compress(good[:20000])
    yield 'archive-of-a-text', zipped({'notes.txt': b'hello'})
    yield 'archive-of-nothing', zipped({})
    yield 'archive-with-bad-pickle', zipped({'a/data.pkl': b'\x80\x02garbage', 'a/version': b'3\n'})
    yield 'numbers-of-numpy', npy(np.ones(5))
    yield 'start-overwritten', b'\0' * 64 + good[64:]
    yield 'twice-cut', good[: len(good) // 2] + good[len(good) // 2 + 1000 :]
    yield 'bomb', deflated({'state_dict': {'x.weight': torch.zeros(3_000_000)}})


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def deflated(content: object) -> bytes:
    """A checkpoint that unpacks to thousands of times its size."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(save(content))) as plain,
        zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    return buffer.getvalue()


def pickles_with_code(good: dict, marker: Path) -> Iterator[tuple[str, bytes]]:
    """Files that would make a folder, ``marker``, where pickles may call functions."""
    touch = Call(os.system, f'mkdir {marker}')
    text = f'__import__("os").mkdir({str(marker)!r})'
    nested = pickle.dumps(Call(os.mkdir, str(marker)))
    yield 'code-alone', pickle.dumps(touch)
    yield 'code-old-format', save({'state_dict': touch}, _use_new_zipfile_serialization=False)
    yield 'code-as-weight', save({**good, 'state_dict': {**good['state_dict'], 'x': touch}})
    yield 'code-as-weights', save({**good, 'state_dict': touch})
    yield 'code-in-meta', save({**good, 'meta': {**good['meta'], 'cfg': touch}})
    yield 'code-as-meta', save({**good, 'meta': touch})
    yield 'code-in-optimizer', save({**good, 'optimizer': touch})
    yield 'code-in-hub', save({**good, 'message_hub': touch})
    yield 'code-eval', save({**good, 'x': Call(eval, text)})
    yield 'code-exec', save({**good, 'x': Call(exec, text)})
    yield 'code-getattr', save({**good, 'x': Call(getattr, Path, 'mkdir')})
    yield 'code-nested-load', save({**good, 'x': Call(torch.storage._load_from_bytes, nested)})
    yield 'code-nested-pickle', save({**good, 'x': Call(pickle.loads, nested)})
    crafted = Call(HistoryBuffer, state=({}, {'_statistics_methods': {'mean': eval}}))
    yield 'code-history-slots', save({**good, 'x': crafted})
    yield 'code-history-class', save({**good, 'x': Call(HistoryBuffer, state={'__class__': 1})})
    yield 'code-history-method', save({**good, 'x': Call(getattr, HistoryBuffer, '__init__')})
    objects = np.array([Call(os.system, f'mkdir {marker}')], dtype=object)
    yield 'code-object-array', save({**good, 'x': objects})
    yield 'code-path', save({**good, 'x': Call(Path.mkdir, marker)})


def _with(key: str, value: object) -> Callable[[State], object]:
    return lambda state: OrderedDict(state, **{key: value})


def _change(key: str, change: Callable[[Tensor], object]) -> Callable[[State], object]:
    return lambda state: OrderedDict(state, **{key: change(state[key])})


def _fill(value: float) -> Callable[[Tensor], Tensor]:
    def fill(x: Tensor) -> Tensor:
        x = x.clone()
        x.view(-1)[-1] = value
        return x

    return fill


def _quantise(x: Tensor) -> Tensor:
    return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)


def _nest(x: Tensor) -> Tensor:
    return torch.nested.nested_tensor([x[:2], x[:3]], layout=torch.jagged)


def _renamed(state: State, rename: Callable[[str], object]) -> OrderedDict:
    return OrderedDict((rename(key), x) for key, x in state.items())


def _without(*parts: str) -> Callable[[State], object]:
    return lambda state: OrderedDict(
        (key, x) for key, x in state.items() if not any(part in key for part in parts)
    )


# state dicts that cannot be weights of the model, by a function of good ones
WEIGHTS: dict[str, Callable[[State], object]] = {
    'no-weights': lambda state: OrderedDict(),
    'weights-none': lambda state: None,
    'weights-list': lambda state: list(state.items()),
    'weights-text': lambda state: 'weights',
    'weights-number': lambda state: 3,
    'weights-tensor': lambda state: torch.ones(3),
    'weights-nested': lambda state: {'state_dict': {'state_dict': state}},
    'weights-by-part': lambda state: {'backbone': dict(state)},
    'names-whole': lambda state: dict(enumerate(state.values())),
    'names-bytes': lambda state: _renamed(state, str.encode),
    'names-tuple': lambda state: _renamed(state, lambda key: tuple(key.split('.'))),
    'name-whole-beside': lambda state: {**state, 0: torch.ones(2)},
    'name-none-beside': lambda state: {**state, None: torch.ones(2)},
    'name-bytes-beside': lambda state: {**state, b'x': torch.ones(2)},
    'names-upper-case': lambda state: _renamed(state, str.upper),
    'names-prefixed': lambda state: _renamed(state, 'net.{}'.format),
    'name-twice': lambda state: {**state, f'module.{WEIGHT}': state[WEIGHT] + 1},
    'name-thrice': lambda state: {**state, f'module.module.{WEIGHT}': state[WEIGHT] + 1},
    'weight-number': _with(WEIGHT, 1.5),
    'weight-list': _change(WEIGHT, Tensor.tolist),
    'weight-none': _with(WEIGHT, None),
    'weight-text': _with(WEIGHT, 'x'),
    'weight-array': _change(WEIGHT, Tensor.numpy),
    'weight-scalar': _with(WEIGHT, torch.tensor(1.0)),
    'bias-scalar': _with(BIAS, torch.tensor(1.0)),
    'weight-empty': _with(WEIGHT, torch.ones(0)),
    'weight-transposed': _change(WEIGHT, lambda x: x.T.contiguous()),
    'weight-flat': _change(WEIGHT, torch.flatten),
    'weight-axis-more': _change(WEIGHT, lambda x: x[None]),
    'weight-row-less': _change(WEIGHT, lambda x: x[:-1]),
    'gate-row-more': _change(GATE, lambda x: torch.cat([x, x])),
    'weight-nan': _change(WEIGHT, _fill(float('nan'))),
    'bias-infinite': _change(BIAS, _fill(float('inf'))),
    'gate-minus-infinite': _change(GATE, _fill(-float('inf'))),
    'position-nan': _change(POSITION, _fill(float('nan'))),
    'weight-whole': _change(WEIGHT, Tensor.long),
    'weight-bool': _change(WEIGHT, Tensor.bool),
    'weight-bytes': _change(WEIGHT, lambda x: x.to(torch.uint8)),
    'weight-complex': _change(WEIGHT, lambda x: x.to(torch.complex64)),
    'weight-sparse': _change(WEIGHT, Tensor.to_sparse),
    'weight-sparse-rows': _change(WEIGHT, Tensor.to_sparse_csr),
    'weight-quantised': _change(WEIGHT, _quantise),
    'weight-nested': _change(WEIGHT, _nest),
    'weight-meta': _change(WEIGHT, lambda x: x.to('meta')),
    'weight-expanded': _change(WEIGHT, lambda x: torch.ones(1).expand(x.shape)),
    'weight-huge-expanded': _with(WEIGHT, torch.ones(1).expand(10**7, 10**7)),
    'all-scalars': lambda state: OrderedDict((key, torch.tensor(1.0)) for key in state),
    'all-zero-size': lambda state: OrderedDict((key, torch.ones(0)) for key in state),
    'all-halved': lambda state: OrderedDict((k, x[: max(1, len(x) // 2)]) for k, x in state.items()
                                            if x.dim()),
    'missing-layer': _without('blocks.1.layers.0'),
    'missing-block': _without('blocks.1.'),
    'missing-backbone': _without('backbone.'),
    'missing-head': _without('head'),
    'missing-position': _without('pos_embed'),
    'missing-patches': _without('patch_embed'),
    'position-scalar': _with(POSITION, torch.tensor(1.0)),
    'position-one-axis': _change(POSITION, lambda x: x[0, 0, 0]),
    'position-tokens': _change(POSITION, lambda x: x.flatten(1, 2)),
    'position-five-axes': _change(POSITION, lambda x: x[None]),
    'position-other-width': _change(POSITION, lambda x: x[..., :-4]),
    'position-no-rows': _change(POSITION, lambda x: x[:, :0]),
    'position-two-images': _change(POSITION, lambda x: torch.cat([x, x])),
    'position-channels-first': _change(POSITION, lambda x: x.permute(0, 3, 1, 2).contiguous()),
}  # fmt: skip


def malformed_weights(good: dict) -> Iterator[tuple[str, bytes]]:
    """Checkpoints whose state dict cannot be weights of the model."""
    for name, change in WEIGHTS.items():
        yield name, save({**good, 'state_dict': change(good['state_dict'])})
    for name in ('weights-list', 'names-whole', 'weight-nan', 'weight-meta', 'position-scalar'):
        yield f'bare-{name}', save(WEIGHTS[name](good['state_dict']))


def _meta(**changes: object) -> Callable[[dict], object]:
    return lambda meta: {**meta, **changes}


def _data(**changes: object) -> Callable[[dict], object]:
    return lambda meta: {**meta, 'dataset_meta': {**meta['dataset_meta'], **changes}}


# what stands beside weights, by a function of good ``meta``
META: dict[str, Callable[[dict], object]] = {
    'meta-text': lambda meta: 'meta',
    'meta-list': lambda meta: [1, 2],
    'meta-tensor': lambda meta: torch.ones(2),
    'meta-number': lambda meta: 7,
    'cfg-dict': _meta(cfg={'model': 1}),
    'cfg-number': _meta(cfg=3),
    'cfg-list': _meta(cfg=['model']),
    'data-text': _meta(dataset_meta='x'),
    'data-list': _meta(dataset_meta=['a', 'b']),
    'data-number': _meta(dataset_meta=1),
    'classes-number': _data(classes=8),
    'classes-text': _data(classes='road'),
    'classes-nested': _data(classes=[['a'], ['b']]),
    'classes-numbers': _data(classes=[1, 2, 3]),
    'classes-dict': _data(classes={'a': 1}),
    'classes-tensor': _data(classes=torch.ones(3)),
    'classes-none-inside': _data(classes=['a', None]),
    'palette-number': _data(palette=5),
    'palette-flat': _data(palette=[1, 2, 3]),
    'palette-text': _data(palette='viridis'),
    'palette-two-numbers': _data(palette=[[1, 2]] * 8),
    'palette-too-large': _data(palette=[[1, 2, 999]] * 8),
    'palette-fractions': _data(palette=[[0.5, 0.1, 0.2]] * 8),
}


def malformed_meta(good: dict) -> Iterator[tuple[str, bytes]]:
    """Checkpoints of good weights with malformed ``meta``."""
    for name, change in META.items():
        yield name, save({**good, 'meta': change(copy.deepcopy(good['meta']))})


def malformed_safetensors(good: dict) -> Iterator[tuple[str, bytes]]:
    from safetensors.torch import save as pack

    whole = pack({key: x.contiguous() for key, x in good['state_dict'].items()})
    (size,) = struct.unpack('<Q', whole[:8])
    header, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]

    def packed(header: object, body: bytes = body) -> bytes:
        text = json.dumps(header).encode()
        return struct.pack('<Q', len(text)) + text + body

    yield 'empty', b''
    yield 'cut-in-header', whole[: size // 2]
    yield 'cut-in-body', whole[:-100]
    yield 'header-size-huge', struct.pack('<Q', 2**60) + whole[8:]
    yield 'header-size-zero', bytes(8) + whole[8:]
    yield 'header-not-json', whole[:8] + b'x' * size + body
    yield 'header-list', packed([1, 2])
    yield 'header-empty', packed({}, b'')
    yield 'type-unknown', packed({**header, WEIGHT: {**header[WEIGHT], 'dtype': 'X9'}})
    yield 'shape-huge', packed({**header, WEIGHT: {**header[WEIGHT], 'shape': [2**40, 2**30]}})
    yield 'shape-negative', packed({**header, WEIGHT: {**header[WEIGHT], 'shape': [-1, 2]}})
    first = {**header[WEIGHT], 'data_offsets': [0, header[WEIGHT]['data_offsets'][1]]}
    yield 'offsets-overlap', packed({**header, WEIGHT: first})
    far = {**header[WEIGHT], 'data_offsets': [10**12, 10**12 + 8]}
    yield 'offsets-far', packed({**header, WEIGHT: far})
    for name in ('weight-nan', 'weight-whole', 'weight-scalar', 'position-one-axis'):
        state = WEIGHTS[name](good['state_dict'])
        yield name, pack({key: x.contiguous() for key, x in state.items()})
