"""Gradient accumulation, the scaled learning rate and averaged weights really act."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

EMA = "custom_hooks = [dict(type='EMAHook', momentum=0.1)]"


def train(run_here, tiny: Path, *args: str, text: str = '') -> Path:
    """Train 4 iterations, or what the options say; returns the last checkpoint's folder."""
    config = tiny.parent / 'run.py'
    config.write_text(f"_base_ = './tiny.py'\n{text}\n")
    run_here('train.py', config, '--no-validate', *args)
    return tiny.parent / 'work'


def load(file: Path) -> dict:
    return torch.load(file, weights_only=False, map_location='cpu')


def test_accumulation_updates_every_second_step(run_here, tiny_config):
    work = train(
        run_here,
        tiny_config,
        '--cfg-options',
        'optim_wrapper.accumulative_counts=2',
        'default_hooks.checkpoint.interval=1',
        'default_hooks.checkpoint.max_keep_ckpts=4',
    )
    weights = [
        load(work / f'iter_{i}.pth')['state_dict']['decode_head.conv_seg.weight']
        for i in range(1, 5)
    ]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])


@pytest.mark.parametrize('steps', [1, 2])
def test_learning_rate_is_scaled_by_the_images_of_an_update(run_here, tiny_config, steps):
    options = ['auto_scale_lr.base_batch_size=8', f'optim_wrapper.accumulative_counts={steps}']
    work = train(run_here, tiny_config, '--auto-scale-lr', '--cfg-options', *options)
    [group, *_] = load(work / 'iter_4.pth')['optimizer']['param_groups']
    assert group['initial_lr'] == pytest.approx(1e-3 * 2 * steps / 8)  # two images a step


def test_no_batch_size_to_scale_by(run_here, tiny_config, capsys):
    with pytest.raises(SystemExit) as stopped:
        train(run_here, tiny_config, '--auto-scale-lr', '--cfg-options', 'auto_scale_lr=None')
    assert stopped.value.code == 2
    assert 'no auto_scale_lr.base_batch_size' in capsys.readouterr().err


def test_averaged_weights_are_kept(run_here, tiny_config):
    checkpoint = load(train(run_here, tiny_config, text=EMA) / 'iter_4.pth')
    name = 'decode_head.conv_seg.weight'
    trained = checkpoint['ema_state_dict'][f'module.{name}']  # the hook exchanges the two
    averaged = checkpoint['state_dict'][name]
    assert not torch.equal(trained, averaged)
    assert torch.allclose(trained, averaged, atol=5e-3)
