"""Detect a finished run, which cannot be resumed."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from vil_mm.checkpoints.reading import find_meta, read_checkpoint
from vil_mm.runs.resuming import find_last_checkpoint


def describe_finished(cfg: Config, *, resume: bool = False) -> str | None:
    """Describe a finished run and the next steps, in a few lines.

    Args:
        cfg: The result of ``read_config``.
        resume: Whether to resume the run; the config's ``resume=True`` counts as well.

    Returns:
        None if there is something left to train: the run is not resumed, the work dir has no
        checkpoint, or the checkpoint has fewer iterations or epochs than the config asks for. Also
        None for sharded checkpoints, which some strategies write.

    Raises:
        FileNotFoundError, CheckpointError: There are checkpoints, but none can be read.
    """
    last, _ = find_last_checkpoint(cfg) if resume or cfg.get('resume') else (None, None)
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
        f'to continue: a larger train_cfg.{key}; to start over: another work dir',
    ]
    return '\n'.join(lines)
