"""The Imagenette config through the tools on real images, every size of it shrunk."""

from __future__ import annotations

import itertools
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import vil_mm

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
CONFIG = """
_base_ = {base!r}
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, num_layers=3), drop_path_rate=0.5),
    head=dict(in_channels=32),
)
data = dict(data_root={data!r})
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=data)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(indices=list(range(0, 600, 15)), **data),
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, test_data: Path) -> Callable[..., None]:
    """Runs a tool on the small config, in this process."""
    base, data = vil_mm.CONFIG_DIR / 'vil_t_imagenette_cpu.py', test_data / 'imagenette_mini'
    (tmp_path / 'small.py').write_text(CONFIG.format(base=str(base), data=str(data)))
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.chdir(tmp_path)
    names = itertools.count()

    def call(tool: str, *args: str, options: tuple[str, ...] = ()) -> None:
        name = f'{tmp_path.name}_{next(names)}'  # visualizers and logs are kept by their name
        options = (f'experiment_name={name}', f'visualizer.name={name}', *options)
        monkeypatch.setattr(sys, 'argv', [tool, 'small.py', *args, '--cfg-options', *options])
        runpy.run_path(str(TOOLS / tool), run_name='__main__')

    return call


def weights(path: str) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False)['state_dict']


@pytest.mark.slow
def test_training_is_resumed_and_tested(run: Callable[..., None]) -> None:
    run('train.py', '--work-dir', 'whole')
    run('train.py', '--work-dir', 'parts', options=('train_cfg.max_iters=2',))
    run('train.py', '--work-dir', 'parts', '--resume')
    whole, parts = weights('whole/iter_4.pth'), weights('parts/iter_4.pth')
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert list(Path('whole').glob('best_accuracy_top1_iter_*.pth'))
    (scalars,) = Path('whole').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [line['iter'] for line in lines if 'loss' in line] == [1, 2, 3, 4]
    # the head starts at zero and targets sum to one: the first loss is log 10
    assert lines[0]['loss'] == pytest.approx(2.302585, abs=1e-3)

    run('test.py', 'whole/iter_4.pth', '--work-dir', 'test')
    (metrics,) = Path('test').glob('*/*.json')
    tested = json.loads(metrics.read_text())
    assert tested['accuracy/top5'] == lines[-1]['accuracy/top5'] > 0
