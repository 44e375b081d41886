"""mmengine's own loaders run no code and take no unusable weights."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from vil_mm.checkpoints.reading import CheckpointError, read_state_dict


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


NAN = torch.tensor([float('nan')])
UNUSABLE = {
    'nan': ({'x.weight': NAN}, 'not finite'),
    'infinite': ({'x.weight': torch.tensor([1, float('inf')])}, 'not finite'),
    'whole': ({'x.weight': torch.ones(2, dtype=torch.int64)}, 'whole numbers'),
    'complex': ({'x.weight': torch.ones(2, dtype=torch.complex64)}, 'complex'),
    'sparse': ({'x.weight': torch.eye(3).to_sparse()}, 'sparse'),
    'quantised': (
        {'x.weight': torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        'quantised',
    ),
    'meta': ({'x.weight': torch.ones(2, device='meta')}, 'no values'),
    'expanded': ({'x.weight': torch.ones(1).expand(10**9)}, 'fewer values'),
    'variance': ({'x.running_var': torch.tensor([-1.0])}, 'negative variances'),
    'twice': ({'module.x.weight': torch.ones(1), 'x.weight': torch.ones(1)}, 'two weights'),
}
READERS = {
    'ours': read_state_dict,
    'mmengine': lambda file: CheckpointLoader.load_checkpoint(file, map_location='cpu'),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('bare', [True, False], ids=['bare', 'whole'])
@pytest.mark.parametrize('kind', UNUSABLE)
def test_unusable_weights(tmp_path, kind: str, bare: bool, reader: str) -> None:
    weights, message = UNUSABLE[kind]
    file = tmp_path / 'x.pth'
    torch.save(weights if bare else {'state_dict': weights}, file)
    with pytest.raises(CheckpointError, match=message) as error:
        READERS[reader](str(file))
    assert 'x.pth' in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('reader', READERS)
def test_code_is_not_run(tmp_path, reader: str) -> None:
    ran, file = tmp_path / 'ran', tmp_path / 'x.pth'
    for content in (
        pickle.dumps(Evil(ran)),
        pickle.dumps({'state_dict': {}, 'meta': Evil(ran)}, 2),
    ):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match='not a checkpoint of tensors'):
            READERS[reader](str(file))
    torch.save({'state_dict': {'a': torch.ones(1)}, 'meta': Evil(ran)}, file)
    with pytest.raises(CheckpointError, match='not a checkpoint of tensors'):
        READERS[reader](str(file))
    assert not ran.exists()


@pytest.mark.parametrize('reader', READERS)
def test_archive_that_unpacks_to_far_more(tmp_path, reader: str) -> None:
    import zipfile

    torch.save({'x.weight': torch.zeros(10**6)}, tmp_path / 'plain.pth')
    with (
        zipfile.ZipFile(tmp_path / 'plain.pth') as plain,
        zipfile.ZipFile(tmp_path / 'x.pth', 'w', zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(CheckpointError, match=r'it declares 4,\d+,\d+ bytes, but has only'):
        READERS[reader](str(tmp_path / 'x.pth'))


def test_safetensors_load_like_a_checkpoint(tmp_path) -> None:
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    save_file(source.state_dict(), tmp_path / 'x.safetensors')
    load_checkpoint(target, str(tmp_path / 'x.safetensors'), strict=True)
    assert torch.equal(target.weight, source.weight)
    (tmp_path / 'x.safetensors').write_bytes(b'\xff' * 100)
    with pytest.raises(CheckpointError, match='not a checkpoint of tensors'):
        read_state_dict(str(tmp_path / 'x.safetensors'))


def test_log_history_is_rebuilt(tmp_path) -> None:
    log = HistoryBuffer(np.arange(3.0), np.ones(3), max_length=7)
    weights = {'x.weight': torch.ones(1)}
    content = {
        'state_dict': weights,
        'message_hub': {'log_scalars': {'loss': log}, 'x': np.float64(2)},
    }
    torch.save(content, tmp_path / 'x.pth')
    hub = READERS['mmengine'](str(tmp_path / 'x.pth'))['message_hub']
    found = hub['log_scalars']['loss']
    assert type(found) is HistoryBuffer and found.max_length == 7 and hub['x'] == 2
    assert [x.tolist() for x in found.data] == [[0, 1, 2], [1, 1, 1]] and found.mean() == 1


class CraftedHistory:
    def __init__(self, state: object) -> None:
        self.state = state

    def __reduce__(self):
        return HistoryBuffer, (), self.state


@pytest.mark.parametrize(
    'state', [({}, {'min': 1}), [1], {'__class__': 1}, {'max_length': 3}, {'_log_history': [1]}]
)
def test_crafted_log_history(tmp_path, state: object) -> None:
    torch.save({'state_dict': {}, 'log': CraftedHistory(state)}, tmp_path / 'x.pth')
    before = dict(HistoryBuffer._statistics_methods)
    with pytest.raises(CheckpointError, match='not a checkpoint of tensors'):
        READERS['mmengine'](str(tmp_path / 'x.pth'))
    assert before == HistoryBuffer._statistics_methods


def test_yaml_config_runs_no_code(tmp_path) -> None:
    file, ran = tmp_path / 'config.yaml', tmp_path / 'ran'
    file.write_text(f"x: !!python/object/apply:os.mkdir ['{ran}']")
    with pytest.raises(Exception, match='could not determine a constructor'):
        Config.fromfile(file)
    assert not ran.exists()
    Config({'size': (1, [2, 3]), 'a': {'b': 'c'}}).dump(tmp_path / 'plain.yaml')
    assert Config.fromfile(tmp_path / 'plain.yaml').size == (1, [2, 3])
