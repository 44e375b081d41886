"""Options that contradict each other, checkpoint or data, as a user meets them: one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def refused(
    run_here: Callable[..., None], capsys: pytest.CaptureFixture, tmp_path: Path
) -> Callable[..., str]:
    """Runs a tool that has to end with status 2 and, without a checkpoint written, one line."""

    def run(tool: str, *args: str | Path) -> str:
        checkpoints = set(tmp_path.glob('w/*.pth'))
        with pytest.raises(SystemExit) as error:
            run_here(tool, *args, '--work-dir', 'w')
        assert error.value.code == 2
        captured = capsys.readouterr()
        assert 'Traceback' not in captured.out + captured.err
        assert set(tmp_path.glob('w/*.pth')) == checkpoints
        return [line for line in captured.err.splitlines() if line.startswith(tool)][-1]

    return run


DECODE, AUX = 'model.decode_head', 'model.auxiliary_head'


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ([f'{DECODE}.num_classes=150'], f'{DECODE}.num_classes=150, but the train data has 8'),
        ([f'{AUX}.num_classes=7'], f'{AUX}.num_classes=7, but the train data has 8 classes'),
        ([f'{DECODE}.loss_decode.class_weight=[1,2]'], 'class_weight has 2 numbers'),
        ([f'{DECODE}.out_channels=1'], 'one output and num_classes=8'),
        (["val_evaluator.iou_metrics=['mDice']"], "save_best='mIoU', but val_evaluator computes"),
        (['train_dataloader.batch_size=1'], 'a batch norm over a one-pixel map'),
        (['model.backbone.in_channels=4'], 'mean has 3 numbers'),
        (['model.backbone.patch_size=(16,8)'], r'patch_size=(16, 8), expected one number'),
    ],
    ids=lambda value: value[0].split('=')[0] if isinstance(value, list) else None,
)
def test_training(tiny_config: Path, refused, options: list[str], words: str) -> None:
    assert words in refused('train.py', tiny_config, '--cfg-options', *options)


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('model.type=EncoderDecodr', "no such class is registered; did you mean 'EncoderDecoder'?"),
        ('train_dataloader.batch_size=none', "batch_size='none': expected a whole number"),
        ('train_cfg.max_iters=abc', "train_cfg.max_iters='abc': expected a whole number"),
        ('train_cfg.max_iters=0', 'train_cfg.max_iters=0: expected a whole number'),
        ('train_cfg.val_interval=0', 'train_cfg.val_interval=0: expected a whole number'),
        ('optim_wrapper.type=AmpWraper', 'optim_wrapper cannot be built: AmpWraper is not in'),
        ('optim_wrapper.optimizer.betas=(0.9,)', 'optim_wrapper cannot be built: tuple index'),
        (
            "param_scheduler=[dict(type='PolyLR', bein=0)]",
            "(PolyLR) has no 'bein': did you mean 'begin'?",
        ),
        ('randomness.seed=abc', 'randomness cannot be built: '),
    ],
)
def test_parts_that_cannot_be_built(tiny_config: Path, refused, option: str, words: str) -> None:
    assert words in refused('train.py', tiny_config, '--no-validate', '--cfg-options', option)


def resume(trained, tmp_path: Path) -> None:
    (tmp_path / 'w').mkdir()
    shutil.copy(trained.checkpoint, tmp_path / 'w')
    (tmp_path / 'w' / 'last_checkpoint').write_text(trained.checkpoint.name)


def test_resuming_at_another_size(trained, refused, tmp_path: Path) -> None:
    resume(trained, tmp_path)
    options = ('model.backbone.img_size=96', 'train_cfg.max_iters=6')
    line = refused('train.py', trained.config, '--resume', '--cfg-options', *options)
    assert 'cannot be resumed: backbone.pos_embed.embed has the shape (1, 4, 4, 16)' in line


def test_resuming_with_other_groups_of_parameters(trained, refused, tmp_path: Path) -> None:
    resume(trained, tmp_path)
    options = ('train_cfg.max_iters=6', 'optim_wrapper.paramwise_cfg=None')
    line = refused('train.py', trained.config, '--resume', '--cfg-options', *options)
    assert 'cannot be resumed: its optimizer has' in line


def test_weights_of_another_size_are_loaded_and_resized(trained, run_here, tmp_path: Path) -> None:
    options = ('model.backbone.img_size=96', 'train_cfg.max_iters=1')
    options += (f'load_from={trained.checkpoint}', 'default_hooks.checkpoint.interval=1')
    config = ('train.py', trained.config, '--work-dir', 'w', '--no-validate')
    run_here(*config, '--cfg-options', *options)
    assert (tmp_path / 'w' / 'iter_1.pth').is_file()


CLASSES = ('ground', 'disc', 'square', 'triangle', 'star', 'ring', 'cross', 'bar')


@pytest.mark.parametrize('classes', [CLASSES, CLASSES[::-1], CLASSES[:3]], ids=len)
def test_testing_on_data_of_other_classes_warns(trained, run_here, tmp_path, classes) -> None:
    config = tmp_path / 'other.py'
    config.write_text(
        f'_base_ = {str(trained.config)!r}\n'
        f'test_dataloader = dict(dataset=dict(metainfo=dict(classes={classes})))\n'
        f"experiment_name = 'other{len(classes)}{classes[0]}'\n"
    )
    run_here('test.py', config, trained.checkpoint, '--work-dir', 'w')
    (log,) = tmp_path.glob('w/*/*.log')
    warned = [line for line in log.read_text().splitlines() if 'was trained for' in line]
    expected = {
        CLASSES: [],
        CLASSES[::-1]: ["8 of 8 names differ, the first is 0: 'ground' in the checkpoint, 'bar'"],
        CLASSES[:3]: ['was trained for 8 classes, the data has 3'],
    }[classes]
    assert len(warned) == len(expected)
    assert all(words in line for words, line in zip(expected, warned, strict=True))
