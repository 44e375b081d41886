"""The two commands that a user types: training leaves a checkpoint, testing it prints an mIoU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import published
import pytest
import torch
from mmengine.config import Config
from mmseg.models import SegTTAModel

from vil_mm.runs.reading import read_config

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

WITH_TTA = """
_base_ = './tiny.py'
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.75, 1.0)],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
"""


def in_own_process(folder: Path, tool: str, *args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool as a user does, from a folder of one's own."""
    command = [sys.executable, str(TOOLS / tool), *map(str, args)]
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(TOOLS.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


@pytest.fixture
def checkpoint(trained) -> Path:
    return trained.checkpoint


def metrics_below(folder: Path) -> dict[str, float]:
    (file,) = folder.glob('*/*.json')
    return json.loads(file.read_text())


def label_maps(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: cv2.imread(str(path), -1) for path in folder.iterdir()}


def images(drawn_data: Path) -> dict[str, np.ndarray]:
    return label_maps(drawn_data / 'images' / 'validation')


def test_training_leaves_weights_curve_and_config(trained, checkpoint):
    state = torch.load(checkpoint, weights_only=False)
    assert state['meta']['iter'] == 4
    assert any(key.startswith('backbone.blocks.3.') for key in state['state_dict'])
    assert (trained.work_dir / 'last_checkpoint').read_text() == checkpoint.name
    assert (trained.work_dir / 'tiny.py').is_file()
    assert len(list(trained.work_dir.glob('best_mIoU_iter_*.pth'))) == 1
    (scalars,) = trained.work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [line['iter'] for line in lines if 'loss' in line] == [1, 2, 3, 4]
    assert sum('mIoU' in line for line in lines) == 2
    (log,) = trained.work_dir.glob('*/*.log')
    assert 'the model is trained from scratch' in log.read_text()


def test_testing_prints_the_score_and_writes_maps_and_pictures(
    trained, checkpoint, drawn_data, tmp_path
):
    options = ['--work-dir', 'test', '--out', 'maps', '--show-dir', 'pictures']
    done = in_own_process(tmp_path, 'test.py', trained.config, checkpoint, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = re.search(r'mIoU: ([\d.]+)', done.stdout + done.stderr)
    assert printed, done.stdout[-3000:]
    tested = metrics_below(tmp_path / 'test')
    assert float(printed[1]) == pytest.approx(tested['mIoU'], abs=1e-2)
    (scalars,) = trained.work_dir.glob('*/vis_data/scalars.json')
    validated = json.loads(scalars.read_text().splitlines()[-1])
    assert tested['mIoU'] == validated['mIoU'], 'the weights that were validated were tested'

    maps, inputs = label_maps(tmp_path / 'maps'), images(drawn_data)
    assert maps.keys() == inputs.keys()
    assert {path.stem for path in (tmp_path / 'pictures').iterdir()} == inputs.keys()
    assert '3 pictures in pictures' in done.stdout
    for name, labels in maps.items():
        assert labels.dtype == np.uint8 and labels.shape == inputs[name].shape[:2]
        assert labels.min() >= 1 and labels.max() <= 8, 'numbered as the annotations are'


def test_written_maps_have_the_score(trained, checkpoint, drawn_data, run_here, tmp_path):
    run_here('test.py', trained.config, checkpoint, '--work-dir', tmp_path / 't', '--out', 'maps')
    truth = label_maps(drawn_data / 'annotations' / 'validation')
    maps = label_maps(tmp_path / 'maps')
    right = sum(((maps[name] == truth[name]) & (truth[name] > 0)).sum() for name in truth)
    labelled = sum((labels > 0).sum() for labels in truth.values())
    expected = metrics_below(tmp_path / 't')['aAcc']
    assert 100 * right / labelled == pytest.approx(expected, abs=0.01)


def test_tta_averages_four_views(trained, checkpoint, drawn_data, run_here, tmp_path, monkeypatch):
    (tmp_path / 'with_tta.py').write_text(WITH_TTA.replace('./tiny.py', str(trained.config)))
    views, merge = [], SegTTAModel.merge_preds

    def spy(self, samples):
        views.extend(len(sample) for sample in samples)
        return merge(self, samples)

    monkeypatch.setattr(SegTTAModel, 'merge_preds', spy)
    options = ['--tta', '--out', 'maps', '--work-dir', tmp_path / 'test']
    run_here('test.py', tmp_path / 'with_tta.py', checkpoint, *options)
    assert views == [4, 4, 4]
    assert 0 <= metrics_below(tmp_path / 'test')['mIoU'] <= 100
    maps, inputs = label_maps(tmp_path / 'maps'), images(drawn_data)
    assert {name: x.shape for name, x in maps.items()} == {
        name: x.shape[:2] for name, x in inputs.items()
    }


def test_tta_without_a_pipeline_for_it(trained, checkpoint, run_here, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_here('test.py', trained.config, checkpoint, '--tta')
    assert exit_.value.code == 2
    assert capsys.readouterr().err == 'test.py: --tta: the config has no tta_pipeline\n'


@pytest.mark.parametrize('damage', ['missing', 'empty', 'text'])
def test_wrong_checkpoint_is_one_clear_line(tiny_config, tmp_path, run_here, capsys, damage):
    file = tmp_path / 'weights.pth'
    if damage != 'missing':
        file.write_text('' if damage == 'empty' else 'Not Found')
    for command in (
        ['test.py', tiny_config, file],
        ['train.py', tiny_config, '--cfg-options', f'load_from={file}'],
    ):
        with pytest.raises(SystemExit) as exit_:
            run_here(*command)
        assert exit_.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f'{command[0]}: ') and str(file) in line
    assert not (tmp_path / 'work').exists()


def test_missing_data_and_missing_config(tiny_config, run_here, capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_:
        run_here(
            'train.py', tiny_config, '--cfg-options', 'train_dataloader.dataset.data_root=nowhere'
        )
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith('train.py: train data not found: nowhere/images/training')
    assert 'docs/datasets.md' in error
    with pytest.raises(SystemExit) as exit_:
        run_here('train.py', 'typo.py')
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith('train.py: config not found: typo.py (looked from')
    assert not (tmp_path / 'work').exists()


def refused(run_here, capsys, *command: str | Path) -> list[str]:
    """Runs a tool, which must end with status 2; returns its last message's lines."""
    with pytest.raises(SystemExit) as exit_:
        run_here(*command)
    assert exit_.value.code == 2
    _, _, message = capsys.readouterr().err.rpartition(f'{command[0]}: ')
    return message.splitlines()


def test_checkpoint_of_another_model(tiny_config, checkpoint, run_here, capsys, tmp_path):
    options = ['--cfg-options', 'model.backbone.arch.num_layers=10']
    first, *others = refused(run_here, capsys, 'test.py', tiny_config, checkpoint, *options)
    assert first.startswith(f'{checkpoint} does not fit the model: the file holds ViL version 2 (')
    assert '8 layers' in first and '10 layers' in first
    assert any('backbone.blocks.4.' in line for line in others)
    assert not list(tmp_path.glob('work/**/*.json')), 'no score of a model that is not the one'


def test_checkpoint_of_other_classes(tiny_config, checkpoint, run_here, capsys, tmp_path):
    options = ['--cfg-options', 'model.decode_head.num_classes=5']
    first, *_ = refused(run_here, capsys, 'test.py', tiny_config, checkpoint, *options)
    counts = r'decode_head\.conv_seg\.weight is for 8 classes in the checkpoint, 5 in the model'
    assert re.search(counts, first)
    assert not list(tmp_path.glob('work/**/*.json'))


def test_other_classes_are_trained_anew(tiny_config, checkpoint, run_here, tmp_path):
    names, root = [*'abcdefghi'], read_config(str(tiny_config)).train_dataloader.dataset.data_root
    data = {
        'type': 'BaseSegDataset',
        'metainfo': {'classes': names, 'palette': [[0] * 3] * 9},
        'data_root': root,
        'data_prefix': {'img_path': 'images/training', 'seg_map_path': 'annotations/training'},
    }
    options = [
        f'load_from={checkpoint}',
        'train_cfg.max_iters=1',
        'model.decode_head.num_classes=9',
        'model.auxiliary_head.num_classes=9',
        *(f'train_dataloader.dataset.{key}={value}' for key, value in data.items()),
    ]
    run_here('train.py', tiny_config, '--no-validate', '--cfg-options', *options)
    (log,) = tmp_path.glob('work/*/*.log')
    said = 'decode_head.conv_seg.weight is for 8 classes in the checkpoint, 9 in the model'
    assert said in log.read_text()
    state = torch.load(tmp_path / 'work' / 'iter_1.pth', weights_only=False)['state_dict']
    assert len(state['decode_head.conv_seg.weight']) == 9


def test_official_weights_are_sent_to_the_converter(tiny_config, run_here, capsys, tmp_path):
    """One way of many; tests/runs/test_start_weights.py goes through the others."""
    file = published.write_published(
        tmp_path / 'vil2.th', published.raw_weights(2, 16, 8, grid=(4, 4))
    )
    (line,) = refused(run_here, capsys, 'test.py', tiny_config, file)
    assert line.startswith(str(file))
    assert f'python tools/convert_checkpoint.py {file}' in line
    assert not (tmp_path / 'work').exists()


def with_backbone_from(config: Path, file: Path) -> Path:
    cfg = Config.fromfile(str(config))
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(file))
    cfg.dump(str(config.with_name('own.py')))
    return config.with_name('own.py')


def test_official_weights_of_the_backbone(tiny_config, run_here, tmp_path):
    """They are converted while they are loaded; the position embedding is resized."""
    raw = published.raw_weights(2, 16, 8, grid=(7, 7))
    file = published.write_published(tmp_path / 'vil2.th', raw)
    config = with_backbone_from(tiny_config, file)
    still = ['train_cfg.max_iters=1', 'optim_wrapper.optimizer.lr=0.0']
    run_here('train.py', config, '--no-validate', '--cfg-options', *still)
    state = torch.load(tmp_path / 'work' / 'iter_1.pth', weights_only=False)['state_dict']
    skip = 'backbone.blocks.3.layers.1.scans.0.skip'
    assert torch.equal(state[skip], raw['xlstm.blocks.7.xlstm.learnable_skip'])
    expected = published.resized(raw, (4, 4))
    torch.testing.assert_close(state['backbone.pos_embed.embed'], expected)


def test_converted_weights_to_start_from(tiny_config, run_here, tmp_path):
    """A classifier's file in a segmentor: the backbone is taken, the heads are new."""
    raw = published.raw_weights(2, 16, 8, grid=(7, 7))
    file = published.write_published(tmp_path / 'vil2.th', raw)
    run_here('convert_checkpoint.py', file, 'converted.pth')
    still = ['train_cfg.max_iters=1', 'optim_wrapper.optimizer.lr=0.0', 'load_from=converted.pth']
    run_here('train.py', tiny_config, '--no-validate', '--cfg-options', *still)
    state = torch.load(tmp_path / 'work' / 'iter_1.pth', weights_only=False)['state_dict']
    skip = 'backbone.blocks.3.layers.1.scans.0.skip'
    assert torch.equal(state[skip], raw['xlstm.blocks.7.xlstm.learnable_skip'])
    torch.testing.assert_close(state['backbone.pos_embed.embed'], published.resized(raw, (4, 4)))
    log = next(tmp_path.glob('work/*/*.log')).read_text()
    assert 'left as initialised' in log and 'decode_head.conv_seg.weight' in log


def test_backbone_of_another_model(tiny_config, run_here, capsys, tmp_path):
    file = published.write_published(tmp_path / 'vil.th', published.raw_weights(1, 16, 8))
    config = with_backbone_from(tiny_config, file)
    (line,) = refused(run_here, capsys, 'train.py', config)
    assert line.startswith(f'{file} does not fit this backbone: the file holds ViL version 1 (16 ')
    assert not list(tmp_path.glob('work/*.pth'))


@pytest.mark.parametrize(
    ('content', 'words'),
    [({'fc.weight': torch.ones(2, 2)}, 'does not fit the model'), ({}, 'holds no weights')],
    ids=['another model', 'no weights'],
)
def test_weights_that_fit_nothing_do_not_train_from_scratch(
    tiny_config, run_here, capsys, tmp_path, content, words
):
    file = tmp_path / 'other.pth'
    torch.save(content, file)
    command = ['train.py', tiny_config, '--cfg-options', f'load_from={file}']
    first, *_ = refused(run_here, capsys, *command)
    assert first.startswith(f'{file} {words}')
    assert not list(tmp_path.glob('work/*.pth'))
    assert not list(tmp_path.glob('work/*/vis_data/scalars.json'))


def test_training_starts_from_weights(tiny_config, checkpoint, run_here, tmp_path):
    still = ['train_cfg.max_iters=1', 'optim_wrapper.optimizer.lr=0.0']
    options = ['--no-validate', '--work-dir', 'w', '--cfg-options', *still]
    run_here('train.py', tiny_config, *options, f'load_from={checkpoint}')
    log = next(tmp_path.glob('w/*/*.log')).read_text()
    assert f'Load checkpoint from {checkpoint}' in log
    assert 'from scratch' not in log
    start = torch.load(checkpoint, weights_only=False)['state_dict']
    end = torch.load(tmp_path / 'w' / 'iter_1.pth', weights_only=False)['state_dict']
    assert all(torch.equal(start[key], end[key]) for key in start if key.startswith('backbone.'))


def test_evaluation_only_config_does_not_train(run_here, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_here('train.py', 'vil_t_in1k_eval')
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('train.py: this config has no ') and 'tools/test.py' in line


@pytest.mark.slow
@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_failures_end_the_process_with_a_status(tiny_config, tmp_path, tool):
    file = tmp_path / 'other.pth'
    torch.save({'fc.weight': torch.ones(2, 2)}, file)
    tail = [file] if tool == 'test.py' else ['--cfg-options', f'load_from={file}']
    done = in_own_process(tmp_path, tool, tiny_config, *tail)
    assert done.returncode == 2
    assert done.stderr.startswith(f'{tool}: {file} does not fit the model: ')
    assert 'Traceback' not in done.stderr
    file.write_text('')
    done = in_own_process(tmp_path, tool, tiny_config, *tail)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f'{tool}: checkpoint is empty (0 bytes): {file}'
    assert 'Traceback' not in done.stderr
