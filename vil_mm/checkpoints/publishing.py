"""Reduce training checkpoints to what users of a model need."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch

from vil_mm.checkpoints.reading import find_meta, find_state_dict, read_checkpoint
from vil_mm.files import atomic_write
from vil_mm.version import __version__

KEPT = ('dataset_meta', 'epoch', 'iter', 'mmengine_version')  # keys of mmengine's meta


def publish(source: str | Path, target: str | Path) -> Path:
    """Write a checkpoint's weights, class names and colours, without the training state.

    Args:
        source: A checkpoint written by mmengine.
        target: ``NAME.pth``; the file is named ``NAME-<first 8 digits of its SHA-256>.pth`` and
            written atomically.

    Returns:
        The written file.

    Raises:
        OSError: A file cannot be read or written, or the result already exists.
        CheckpointError: The source is not a checkpoint.
    """
    content, target = read_checkpoint(str(source)), Path(target)
    meta = {key: value for key, value in find_meta(content).items() if key in KEPT}
    cut = {
        'state_dict': find_state_dict(content, str(source)),
        'meta': {**meta, 'vil_mm_version': __version__},
    }
    buffer = io.BytesIO()
    torch.save(cut, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    named = target.with_name(f'{target.stem}-{digest[:8]}{target.suffix}')
    if named.exists():
        raise FileExistsError(f'{named} exists: this checkpoint is already published')
    with atomic_write(named) as unfinished:
        unfinished.write_bytes(buffer.getvalue())
    return named
