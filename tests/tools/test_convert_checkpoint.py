"""The command that converts official weights: what it prints, writes and refuses."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import published
import pytest
import torch


@pytest.fixture
def source(tmp_path) -> Path:
    raw = published.raw_weights(2, 16, 4, patch=4, grid=(4, 5), classes=7)
    return published.write_published(tmp_path / 'in.th', raw)


def refuse(run_here, capsys, *args: object) -> str:
    """Runs the tool, which must fail; returns its one line of error."""
    with pytest.raises(SystemExit) as exit_:
        run_here('convert_checkpoint.py', *args)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('convert_checkpoint.py: ')
    return line


def test_a_published_file(tmp_path, run_here, capsys) -> None:
    row = published.HUB['vil-tinyplus']
    raw = published.raw_weights(row.version, row.dim, row.layers)
    published.write_published(tmp_path / row.file, raw)
    run_here('convert_checkpoint.py', tmp_path / row.file, 'out.pth')
    printed = capsys.readouterr().out
    assert 'ViL-T+ version 1 (192 channels, 29 layers, patches of 16, grid 14x14)' in printed
    assert '1000 classes' in printed and 'raw layout, 7,277,840 parameters' in printed
    assert f'out.pth, {len(raw)} tensors, 7,277,840 parameters' in printed
    options = "arch='tiny+', version=1, img_size=224, patch_size=16, out_type='bilateral_avg'"
    assert f'VisionLSTM({options})' in printed
    assert 'LinearClsHead(num_classes=1000, in_channels=192)' in printed
    content = torch.load(tmp_path / 'out.pth', weights_only=True)
    assert len(content['state_dict']) == len(raw)
    assert content['meta']['source'] == row.file


def test_to_backbone(source, tmp_path, run_here, capsys) -> None:
    run_here('convert_checkpoint.py', source, 'out.pth', '--to', 'backbone')
    state = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    assert 'patch_embed.proj.weight' in state and 'head.fc.weight' not in state
    assert f'out.pth, {len(state)} tensors' in capsys.readouterr().out


def test_there_and_back(source, tmp_path, run_here) -> None:
    run_here('convert_checkpoint.py', source, 'ours.pth')
    run_here('convert_checkpoint.py', 'ours.pth', 'back.th', '--to', 'official')
    there, back = (
        torch.load(file, weights_only=True)['state_dict'] for file in (source, tmp_path / 'back.th')
    )
    assert list(there) == list(back)
    assert all(torch.equal(there[key], back[key]) for key in there)


def test_force(source, tmp_path, run_here, capsys) -> None:
    (tmp_path / 'out.pth').write_text('precious')
    assert '--force' in refuse(run_here, capsys, source, 'out.pth')
    assert (tmp_path / 'out.pth').read_text() == 'precious'
    run_here('convert_checkpoint.py', source, 'out.pth', '--force')
    assert torch.load(tmp_path / 'out.pth', weights_only=True)['meta']['source'] == 'in.th'


class Touch:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path('ran'),)


@pytest.mark.parametrize('what', ['gone', 'cut off', 'code', 'another model', 'width', 'lacking'])
def test_wrong_files_are_one_line(source, tmp_path, run_here, capsys, what: str) -> None:
    state = torch.load(source, weights_only=True)['state_dict']
    skip = 'xlstm.blocks.1.xlstm.learnable_skip'
    if what == 'gone':
        source.unlink()
    elif what == 'cut off':
        source.write_bytes(source.read_bytes()[:30000])
    elif what == 'code':
        source.write_bytes(pickle.dumps(Touch()))
    else:
        wrong = {
            'another model': {'conv1.weight': torch.ones(1)},
            'width': {**state, skip: torch.ones(8)},
            'lacking': {key: x for key, x in state.items() if key != skip},
        }
        torch.save({'state_dict': wrong[what]}, source)
    words = {
        'gone': 'checkpoint not found',
        'cut off': 'cut off',
        'code': 'not a checkpoint of tensors and plain containers',
        'another model': "does not hold a ViL in one of the authors' layouts",
        'width': 'blocks.0.layers.1.scans.0.skip has the shape (8,)',
        'lacking': f'missing {skip}',
    }
    line = refuse(run_here, capsys, source, 'out.pth')
    assert words[what] in line and str(source) in line
    assert os.listdir(tmp_path) == ([] if what == 'gone' else ['in.th'])
