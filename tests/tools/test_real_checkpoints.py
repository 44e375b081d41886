"""Every tool that takes a checkpoint, on those that `tools/train.py` wrote: what users have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


CHECKED = ("existing('checkpoint", '.add_weights()')  # how a tool's parser asks for one
# what follows the name of a tool; CONFIG and CHECKPOINT are those of the run, IMAGE and the like
# lie in the folder in which the tool runs
SEGMENTOR = {
    'test.py': [
        'CONFIG CHECKPOINT --work-dir tested --out maps --show-dir pictures',
        'CONFIG CHECKPOINT --work-dir tested --tiled'
        ' --cfg-options model.test_cfg.crop_size=64,64 model.test_cfg.stride=43,43',
    ],
    'image_demo.py': [
        'IMAGE CONFIG CHECKPOINT --out one.png --side-by-side',
        'IMAGE CONFIG CHECKPOINT --out full.png --full-size',
        'IMAGES CONFIG CHECKPOINT --out pictures',
        'VIDEO CONFIG CHECKPOINT --out films',
    ],
    'visualize.py': [
        'features IMAGES CONFIG CHECKPOINT --out features.png',
        'receptive-field IMAGE CONFIG CHECKPOINT --layers 1 8 --draws 1 --out field.png',
        'decay IMAGE CONFIG CHECKPOINT --out decay.png',
        'errors CONFIG CHECKPOINT --index 0 --out errors.png',
    ],
    'confusion_matrix.py': ['CONFIG CHECKPOINT --show-path confusion.png'],
    'export.py': ['CONFIG CHECKPOINT --part backbone --format torch-export --shape 32 --out m.pt2'],
    'publish_model.py': ['CHECKPOINT small.pth'],
    'benchmark.py': ['CONFIG CHECKPOINT --shape 64 --repeat 1 --device cpu'],
}
CLASSIFIER = {
    'test.py': ['CONFIG CHECKPOINT --work-dir tested --out found --show-dir pictures'],
    'image_demo.py': [
        'IMAGE CONFIG CHECKPOINT --out one.png --side-by-side',
        'IMAGES CONFIG CHECKPOINT --out pictures',
        'VIDEO CONFIG CHECKPOINT --out films',
    ],
    'visualize.py': [
        'features IMAGES CONFIG CHECKPOINT --out features.png',
        'receptive-field IMAGE CONFIG CHECKPOINT --layers 1 4 --draws 1 --out field.png',
        'decay IMAGE CONFIG CHECKPOINT --out decay.png',
    ],
    'confusion_matrix.py': ['CONFIG CHECKPOINT --show-path confusion.png'],
    'export.py': ['CONFIG CHECKPOINT --format torch-export --shape 32 --out m.pt2'],
    'publish_model.py': ['CHECKPOINT small.pth'],
    'benchmark.py': ['CONFIG CHECKPOINT --shape 32 --repeat 1 --device cpu'],
    'convert_checkpoint.py': [
        'CHECKPOINT official.th --to official',
    ],
}
CASES = [
    pytest.param(
        run,
        tool,
        command,
        id=f'{run}-{tool}-{command}',
        # half a minute; that of the classifier is quick
        marks=[pytest.mark.slow] if (run, tool) == ('trained', 'export.py') else [],
    )
    for run, commands in (('trained', SEGMENTOR), ('trained_classifier', CLASSIFIER))
    for tool in commands
    for command in commands[tool]
]


@pytest.fixture
def names(tmp_path: Path) -> dict[str, str]:
    """An image, a folder of two and a film of two frames."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 80, 3), np.uint8)
    (tmp_path / 'images').mkdir()
    film = cv2.VideoWriter(str(tmp_path / 'film.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 5, (80, 64))
    for i, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / 'images' / f'{i}.png'), frame)
        film.write(frame)
    film.release()
    return {'IMAGE': 'images/0.png', 'IMAGES': 'images', 'VIDEO': 'film.mp4'}


@pytest.mark.parametrize(('run', 'tool', 'command'), CASES)
def test_tool_on_what_training_wrote(
    request, run_here: Callable, names, tmp_path: Path, run: str, tool: str, command: str
) -> None:
    config, checkpoint, _ = request.getfixturevalue(run)
    names |= {'CONFIG': str(config), 'CHECKPOINT': str(checkpoint)}
    words = [names.get(word, word) for word in command.split()]
    before = sorted(tmp_path.rglob('*'))
    run_here(tool, *words)
    if tool != 'benchmark.py':  # which only prints
        assert sorted(tmp_path.rglob('*')) != before, 'it wrote something'
    assert not list(tmp_path.rglob('.unfinished*'))


def test_no_tool_with_a_checkpoint_is_left_out() -> None:
    takes_one = {
        path.name for path in TOOLS.glob('*.py') if any(x in path.read_text() for x in CHECKED)
    }
    takes_one -= {'command_line.py'}  # which declares it
    takes_one -= {'finetune.py'}  # test_finetune.py starts it from such a checkpoint
    assert takes_one <= CLASSIFIER.keys()
    assert takes_one - {'convert_checkpoint.py'} <= SEGMENTOR.keys()


def test_report_on_what_training_wrote(run_here, trained, tmp_path, capsys) -> None:
    """The score of the test, the best checkpoint, and the guess that it has to beat."""
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    for path in trained.work_dir.iterdir():
        (work_dir / path.name).symlink_to(path)
    tested = work_dir / 'test'
    run_here('test.py', trained.config, trained.checkpoint, '--work-dir', tested)
    capsys.readouterr()
    run_here('report.py', trained.config, work_dir)
    said = capsys.readouterr().out
    assert re.search(r'^mIoU +[\d.]+$', said, re.MULTILINE)
    assert re.search(rf'^checkpoint +{work_dir}/best_mIoU_iter_\d\.pth$', said, re.MULTILINE)


def test_official_weights_of_what_training_wrote(
    run_here, trained_classifier, tmp_path, capsys
) -> None:
    """There and back: the same weights, of the model that was trained."""
    source = trained_classifier.checkpoint
    run_here('convert_checkpoint.py', source, 'official.th', '--to', 'official')
    run_here('convert_checkpoint.py', 'official.th', 'back.pth')
    assert '3 classes' in capsys.readouterr().out
    there = torch.load(source, weights_only=False)['state_dict']
    back = torch.load(tmp_path / 'back.pth', weights_only=True)['state_dict']
    assert there.keys() == back.keys()
    assert all(torch.equal(there[key], back[key]) for key in there)
