"""The FLOP counter's command line."""

from __future__ import annotations

import re

import pytest
import torch

from vil_mm.zoo import find_config


def test_table(run_here, capsys) -> None:
    run_here('get_flops.py', find_config('vil_t_in1k_eval'), '--shape', '224')
    out = capsys.readouterr().out
    assert 'One image of 224 x 224 pixels' in out and 'multiply-adds' in out
    counted, paper = re.search(r'^total +([\d.]+) +([\d.]+)$', out, re.MULTILINE).groups()
    assert (float(counted), float(paper)) == (1.9241, 1.5051)
    assert re.search(r'parallel +0.7081 +x 1.00  counted above', out)
    assert '\ntriton, ' in out


def test_options(run_here, tiny_config, capsys) -> None:
    run_here('get_flops.py', tiny_config, '--shape', '64', '96', '--backend', 'parallel',
             '--cfg-options', 'model.auxiliary_head=None')  # fmt: skip
    out = capsys.readouterr().out
    assert '64 x 96' in out and 'counted: parallel' in out
    assert 'decode head' in out and 'auxiliary' not in out


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['missing.py'], 'config not found: missing.py'),
        (['tiny.py', '--shape', '0'], '--shape: expected a whole number, at least 1'),
        (['tiny.py', '--shape', '1', '2', '3'], 'expected one side'),
        (['tiny.py', '--cfg-options', 'model=None'], 'no model'),
        (['tiny.py', '--cfg-options', 'model.backbone.arch=huge'], 'cannot be built.*huge'),
        (['tiny.py', '--device', 'cuda'], 'finds no GPU here'),
    ],
)
def test_bad_input(run_here, tiny_config, capsys, args, message) -> None:
    if 'cuda' in args and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises(SystemExit) as stop:
        run_here('get_flops.py', *args)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, error), error
