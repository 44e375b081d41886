"""Options and refusals of the segmentation recipe, as a user of tools/train.py meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vil_mm import CONFIG_DIR

ADE20K = CONFIG_DIR / 'upernet_vil_t_512x512_ade20k.py'


def places(root: Path) -> list[str]:
    return [f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val')]


def refusal(capsys: pytest.CaptureFixture, error: pytest.ExceptionInfo[SystemExit]) -> str:
    """The only line that a run, refused before it began, has written."""
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_absent_official_weights(run_here, drawn_data, capsys):
    with pytest.raises(SystemExit) as error:
        run_here('train.py', ADE20K, '--cfg-options', *places(drawn_data))
    line = refusal(capsys, error)
    assert 'checkpoint not found: checkpoints/vil2_tiny16_e800_in1k.th' in line
    assert 'docs/checkpoints.md' in line
    assert line.endswith('set model.backbone.init_cfg=None')
    # the option that the line names gets a run past this check, to the next
    options = [*places(drawn_data), 'model.backbone.init_cfg=None', 'load_from=nowhere.pth']
    with pytest.raises(SystemExit) as error:
        run_here('train.py', ADE20K, '--cfg-options', *options)
    assert 'checkpoint not found: nowhere.pth' in refusal(capsys, error)


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without a GPU')
def test_float16_on_a_cpu(run_here, tiny_config, capsys):
    with pytest.raises(SystemExit) as error:
        run_here('train.py', tiny_config, '--amp', 'float16')
    assert '--amp float16: needs a GPU' in refusal(capsys, error)


def test_a_wrong_rule_of_layer_decay(run_here, tiny_config, capsys):
    options = [
        'optim_wrapper.constructor=LayerDecayOptimWrapperConstructor',
        'optim_wrapper.paramwise_cfg.layer_decay_rate=0.65',
        'optim_wrapper.paramwise_cfg.norm_decay=0.0',
    ]
    with pytest.raises(SystemExit) as error:
        run_here('train.py', tiny_config, '--no-validate', '--cfg-options', *options)
    assert error.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert 'paramwise_cfg does not know norm_decay; it has layer_decay_rate' in line


@pytest.mark.parametrize('amp', [[], ['--amp', 'bfloat16']], ids=['float32', 'bfloat16'])
def test_a_run_that_diverges_stops(run_here, tiny_config, capsys, amp):
    options = [
        'optim_wrapper.optimizer.lr=1e30',
        'optim_wrapper.max_skips_in_a_row=2',
        'train_cfg.max_iters=8',
        'default_hooks.checkpoint.interval=1',
    ]
    with pytest.raises(SystemExit) as error:
        run_here('train.py', tiny_config, '--no-validate', *amp, '--cfg-options', *options)
    assert error.value.code == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert 'training stopped at iteration 3: losses or gradients were not finite, ' in line
    assert 'not finite, 3 in a row, 3 in all; the last time the loss is not finite, it is' in line
    work = tiny_config.parent / 'work'
    assert f'The last checkpoint, {work / "iter_1.pth"}, has finite weights: continue from' in line
    assert (work / 'last_checkpoint').read_text() == 'iter_1.pth'
    assert [path.name for path in work.glob('*.pth')] == ['iter_1.pth']
    state = torch.load(work / 'iter_1.pth', weights_only=False)
    assert state['optimizer']['skips'] == (0, 0)
    assert all(x.isfinite().all() for x in state['state_dict'].values())
    (scalars,) = work.glob('*/vis_data/scalars.json')
    logged = [json.loads(row) for row in scalars.read_text().splitlines()]
    assert [row.get('skipped') for row in logged] == [None, 1, 2]
