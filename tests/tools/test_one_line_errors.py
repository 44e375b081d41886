"""Tools that draw, score and sum up: bad input ends them with one line and exit code 2."""

import pytest

import vil_mm

CONFIG = vil_mm.CONFIG_DIR / 'upernet_vil_t_drawn.py'
OLD = 'configs/vil_t_in1k_eval.py'  # where it was once
MOVED = f'vil_t_in1k_eval is at {vil_mm.CONFIG_DIR}/imagenet/vil_t_in1k_eval.py'


@pytest.mark.parametrize(
    ('tool', 'arguments', 'message'),
    [
        ('draw_dataset.py', ['full'], 'holds files other than a drawn data set'),
        ('priors.py', ['none.py'], 'config not found: none.py'),
        ('priors.py', [CONFIG], 'train data not found'),
        ('priors.py', [OLD], MOVED),
        ('report.py', ['none.py', '.'], 'config not found: none.py'),
        ('report.py', [CONFIG, 'full'], 'was the run trained and tested?'),
        ('print_config.py', ['inherits.py'], MOVED),
    ],
)
def test_bad_input(run_here, tmp_path, capfd, tool, arguments, message) -> None:
    (tmp_path / 'inherits.py').write_text(f'_base_ = {OLD!r}')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'mine.txt').write_text('mine')
    with pytest.raises(SystemExit) as stopped:
        run_here(tool, *arguments)
    assert stopped.value.code == 2
    error = capfd.readouterr().err
    assert message in error and 'Traceback' not in error
