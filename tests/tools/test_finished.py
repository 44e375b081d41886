"""A run that is resumed after its end says so and does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from vil_mm.checkpoints.reading import CheckpointError
from vil_mm.runs.finished import describe_finished


def files_of(folder: Path) -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in sorted(folder.rglob('*'))}


def test_finished_run_is_left_alone(trained, run_here, capfd, monkeypatch):
    before = files_of(trained.work_dir)
    run_here('train.py', trained.config, '--resume')
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == f'training is finished (4 of 4): {trained.checkpoint}'
    (best,) = trained.work_dir.glob('best_mIoU_iter_*.pth')
    assert f'tools/test.py {trained.config} {best}' in out
    assert 'train_cfg.max_iters' in lines[-1] and len(lines) <= 5 and not err
    assert files_of(trained.work_dir) == before, 'no validation, no log, no checkpoint'
    monkeypatch.setenv('RANK', '1')
    run_here('train.py', trained.config, '--resume', '--launcher', 'pytorch')
    assert capfd.readouterr() == ('', ''), 'one of several processes speaks'


def test_what_is_not_finished(trained, tmp_path):
    cfg = Config.fromfile(trained.config)
    assert describe_finished(cfg) is None, 'not resumed'
    cfg.resume = True
    assert describe_finished(cfg).startswith('training is finished (4 of 4)')
    cfg.train_cfg.max_iters = 5
    assert describe_finished(cfg) is None
    cfg.work_dir = str(tmp_path)
    assert describe_finished(cfg) is None, 'no checkpoint'


@pytest.mark.parametrize(('epoch', 'is_finished'), [(2, False), (3, True)])
def test_epochs(tmp_path, resumable, epoch, is_finished):
    torch.save({**resumable, 'meta': {'epoch': epoch, 'iter': 100}}, tmp_path / 'e.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'e.pth'))
    train_cfg = {'by_epoch': True, 'max_epochs': 3}
    cfg = Config({'work_dir': str(tmp_path), 'resume': True, 'train_cfg': train_cfg})
    assert (describe_finished(cfg) is not None) == is_finished


def test_damaged_checkpoint(tmp_path):
    (tmp_path / 'e.pth').write_text('half of one')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'e.pth'))
    with pytest.raises(CheckpointError, match=r'e\.pth'):
        describe_finished(Config({'work_dir': str(tmp_path), 'resume': True, 'train_cfg': {}}))
