"""Convert official checkpoint files to ours and back, with checks and atomic writes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from vil_mm.checkpoints import Description, describe, is_official, to_official
from vil_mm.checkpoints.architectures import make_arch_option
from vil_mm.checkpoints.loading import convert
from vil_mm.checkpoints.reading import CheckpointError, read_state_dict
from vil_mm.checkpoints.shapes import check_shapes
from vil_mm.errors import ArgumentError, shorten
from vil_mm.files import atomic_write
from vil_mm.version import __version__

TARGETS = ('classifier', 'backbone', 'official')
_TRAVERSALS = {1: 'alternating', 2: 'bidirectional', 4: 'quad'}  # one for each number of scans


@dataclass(frozen=True)
class Conversion:
    """The source and the result of a conversion.

    Attributes:
        description: Description of the source.
        sha256: SHA-256 of the source file.
        num_tensors: Number of tensors written.
        num_parameters: Number of elements in them.
        backbone: Options of the ``VisionLSTM`` for the written weights; ``None`` for the authors'
            names.
        head: Options of the ``LinearClsHead``, if a head was written.
        left_out: Parts of a model that the authors' format does not support, such as 'decode_head',
            with their number of tensors.
    """

    description: Description
    sha256: str
    num_tensors: int
    num_parameters: int
    backbone: dict | None
    head: dict | None
    left_out: dict[str, int] = field(default_factory=dict)


def convert_checkpoint(
    source: str | Path, target: str | Path, to: str = 'classifier', force: bool = False
) -> Conversion:
    """Convert a file.

    Args:
        source: File in any of the authors' layouts. If ``to`` is 'official', a file of ours: a
            classifier, a backbone, or a model for another task, whose backbone is converted.
        target: File to write atomically: ``{'state_dict': ..., 'meta': ...}``, as mmengine loads.
        to: 'classifier' for the names of an mmpretrain ``ImageClassifier``; 'backbone' for those of
            the backbone alone, without the head; 'official' for the authors' names.
        force: Replace an existing file.

    Raises:
        OSError: A file cannot be read or written.
        ArgumentError: The target exists.
        CheckpointError: The source is not a complete ViL in the required layout.
    """
    source, target = Path(source), Path(target)
    _check_target(source, target, force)
    stored = read_state_dict(str(source))
    description = _describe(stored, source, official=to != 'official')
    left_out = _task_parts(stored) if to == 'official' else Counter()
    if left_out:
        _check_final_norm(stored, left_out, source)
        stored = OrderedDict((key, x) for key, x in stored.items() if key.startswith('backbone.'))
    ours = stored if to == 'official' else convert(stored, str(source))
    check_shapes(ours, description, str(source))
    state, sha256 = _rename(ours, to, source), _sha256(source)
    write_atomically({'state_dict': state, 'meta': _meta(description, source, sha256)}, target)
    num_parameters = sum(tensor.numel() for tensor in state.values())
    backbone = None if to == 'official' else backbone_options(description)
    head = head_options(description) if to == 'classifier' else None
    return Conversion(
        description, sha256, len(state), num_parameters, backbone, head, dict(left_out)
    )


def _check_final_norm(state: Mapping[str, Tensor], parts: Counter[str], source: Path) -> None:
    if 'backbone.norm.weight' not in state:
        raise CheckpointError(
            f'{source} is a whole model with {", ".join(parts)}, and its ViL has no final norm '
            "(final_norm=False), unlike all of the authors' models: convert a classifier, or a "
            'model whose backbone has final_norm=True'
        )


def _task_parts(state: Mapping[str, Tensor]) -> Counter[str]:
    """Count the tensors of each part of a segmentor or detector, except the backbone."""
    parts = Counter(key.split('.')[0] for key in state)
    whole = 'backbone' in parts and not {'head', 'backbone'} >= set(parts)
    return Counter({part: n for part, n in parts.items() if part != 'backbone'} if whole else {})


def _check_target(source: Path, target: Path, force: bool) -> None:
    if target.is_dir():
        raise IsADirectoryError(f'{target} is a folder: name the file to write')
    if target.exists() and source.exists() and target.samefile(source):
        raise FileExistsError(f'{target} is the source itself: name another file to write')
    if target.exists() and not force:
        raise ArgumentError(f'{target} exists, and would be replaced', force=False)


def _describe(stored: Mapping[str, Tensor], source: Path, official: bool) -> Description:
    if is_official(stored) != official:
        wanted = "a ViL in one of the authors' layouts" if official else 'a ViL under our own names'
        raise CheckpointError(
            f'{source} does not hold {wanted}: its keys look like {shorten(stored)}'
        )
    try:
        return describe(stored)
    except ValueError as error:
        raise CheckpointError(f'{source}: {error}') from error


def backbone_options(description: Description) -> dict:
    """Options of a ``VisionLSTM`` for these weights, as far as weights show them."""
    d = description
    height, width = (side * d.patch_size for side in d.grid)
    options = {
        'arch': make_arch_option(d.embed_dims, d.num_layers),
        'version': d.version,
        'img_size': height if height == width else (height, width),
        'patch_size': d.patch_size,
        'out_type': _out_type(d),
    }
    if d.num_scans > 1:
        options['traversal'] = _TRAVERSALS[d.num_scans]
    if d.in_channels != 3:
        options['in_channels'] = d.in_channels
    return options


def _out_type(description: Description) -> str:
    if description.class_token:
        return 'middle_cls'
    if description.pooled_width is None:
        return 'featmap'
    if description.pooled_width == 2 * description.embed_dims:
        return 'bilateral_concat'
    return 'bilateral_avg'  # the one that published files use among those that keep the width


def head_options(description: Description) -> dict | None:
    """Options of a ``LinearClsHead`` for these weights; ``None`` without a head."""
    if description.num_classes is None:
        return None
    return {'num_classes': description.num_classes, 'in_channels': description.pooled_width}


def _rename(ours: OrderedDict[str, Tensor], to: str, source: Path) -> Mapping[str, Tensor]:
    if to == 'classifier':
        return ours
    if to == 'backbone':
        inside = (key for key in ours if key.startswith('backbone.'))
        return OrderedDict((key.removeprefix('backbone.'), ours[key]) for key in inside)
    try:
        return to_official(ours)
    except ValueError as error:
        raise CheckpointError(f'{source}: {error}') from error


def _meta(description: Description, source: Path, sha256: str) -> dict:
    return {
        'source': source.name,
        'sha256': sha256,
        'layout': description.layout,
        'version': description.version,
        'model': str(description),
        'vil_mm_version': __version__,
        'time': datetime.now(UTC).isoformat(timespec='seconds'),
    }


def _sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def write_atomically(content: dict, target: Path) -> None:
    """``torch.save`` to a temporary file beside the target, which is then renamed."""
    with atomic_write(target) as unfinished, unfinished.open('wb') as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
