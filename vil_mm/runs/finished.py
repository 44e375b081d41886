"""Whether the run in a work dir has come to its end, so that resuming it has nothing to do."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from vil_mm.checkpoints.reading import find_meta, read_checkpoint


def finished(cfg: Config, *, resume: bool = False) -> str | None:
    """Say in a few lines that a run to be resumed is finished, and what can be done with it.

    Args:
        cfg: What ``read_config`` returned.
        resume: Whether the run is resumed; so it is where the config says ``resume=True``.

    Returns:
        None if there is something left to train: no resuming, no checkpoint in the work dir, or
        fewer iterations or epochs than the config asks for. So it is of checkpoints in pieces,
        which some strategies write.

    Raises:
        CheckpointError: The last checkpoint is damaged, or more than data.
    """
    last = find_latest_checkpoint(cfg.work_dir) if resume or cfg.get('resume') else None
    if last is None or not Path(last).is_file():
        return None
    train_cfg = cfg.get('train_cfg') or {}
    key = 'max_epochs' if train_cfg.get('max_epochs') else 'max_iters'
    done = find_meta(read_checkpoint(last)).get('epoch' if key == 'max_epochs' else 'iter')
    if done is None or done < train_cfg.get(key, float('inf')):
        return None
    best = sorted(Path(cfg.work_dir).glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    lines = [f'training is finished ({done} of {train_cfg[key]}): {last}']
    lines += [f'best in validation: {best[-1]}'] if best else []
    lines += [
        f'to evaluate it: python tools/test.py {cfg.filename} {best[-1] if best else last}',
        f'to go on: a larger train_cfg.{key}; to start anew: another --work-dir',
    ]
    return '\n'.join(lines)
