"""Parse options of ``VisionLSTM``: accept NumPy's numbers, ranges and equal pairs.

Invalid values raise an error that names the option, before anything is built.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vil_mm.checkpoints.architectures import ARCHS


class OptionError(ValueError):
    """An option of a backbone has the wrong type or is out of range."""


def read_choice(name: str, value: object, choices: Sequence[object]) -> object:
    """The choice that equals a value, in the choice's type."""
    if isinstance(value, int | str | np.integer) and not isinstance(value, bool):
        for choice in choices:
            if choice == value:
                return choice
    raise OptionError(f'VisionLSTM: {name}={value!r} is not known; choose one of {choices}')


def read_int(name: str, value: object, minimum: int = 1) -> int:
    """A Python, NumPy or PyTorch integer."""
    number = _index(value)
    if number is None or number < minimum:
        raise OptionError(
            f'VisionLSTM: {name}={value!r}, expected a whole number of at least {minimum}'
        )
    return number


def read_side(name: str, value: object) -> int:
    """The side of a square: one number or two equal ones."""
    sides = _sides(value)
    if len(set(sides)) != 1 or len(sides) > 2:
        raise OptionError(
            f'VisionLSTM: {name}={value!r}, expected one number or two equal ones: patches are '
            'square'
        )
    return read_int(name, sides[0])


def read_flag(name: str, value: object) -> bool:
    """True or False; strings are rejected, since 'False' would count as true."""
    if isinstance(value, bool | np.bool_) or _index(value) in (0, 1):
        return bool(value)
    raise OptionError(f'VisionLSTM: {name}={value!r}, expected True or False')


def read_rate(name: str, value: object) -> float:
    """A number in [0, 1)."""
    try:
        rate = float('nan') if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError):
        rate = float('nan')
    if not 0 <= rate < 1:
        raise OptionError(
            f'VisionLSTM: {name}={value!r}, a drop path rate must be at least 0 and below 1'
        )
    return rate


def read_arch(arch: str | Mapping[str, int]) -> tuple[int, int]:
    """Channels and layers of an architecture, by name or dict."""
    if not isinstance(arch, Mapping):
        return ARCHS[read_choice('arch', arch, tuple(ARCHS))][:2]
    if set(arch) != {'embed_dims', 'num_layers'}:
        raise OptionError(f'arch needs exactly embed_dims and num_layers, got {sorted(arch)}')
    dims, layers = (_index(arch[key]) for key in ('embed_dims', 'num_layers'))
    if dims is None or layers is None or dims < 4 or dims % 4 or layers < 1:
        raise OptionError(
            'arch needs embed_dims divisible by 4 and num_layers >= 1, got '
            f'{arch["embed_dims"]} and {arch["num_layers"]}'
        )
    return dims, layers


def read_out_indices(out_indices: int | Iterable[int], num_blocks: int) -> tuple[int, ...]:
    """Ascending block indices, counted from the first block."""
    asked = _sides(out_indices)
    indices = [None if i is None else i + num_blocks if i < 0 else i for i in map(_index, asked)]
    in_range = all(i is not None and 0 <= i < num_blocks for i in indices)
    if not indices or not in_range or sorted(set(indices)) != indices:
        raise OptionError(
            f'out_indices must be ascending block numbers below {num_blocks} (or negative, counted '
            f'from the last), got {out_indices}'
        )
    return tuple(indices)


def read_grid(img_size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches for an image size: one side, or (H, W)."""
    sides = [_index(side) for side in _sides(img_size)]
    if len(sides) not in (1, 2) or None in sides:
        raise OptionError(
            f'VisionLSTM: img_size={img_size!r}, expected a side in pixels, or (H, W)'
        )
    height, width = sides[0], sides[-1]
    if min(height, width) < patch_size or height % patch_size or width % patch_size:
        raise OptionError(f'img_size {img_size} is not a multiple of the patch size {patch_size}')
    return height // patch_size, width // patch_size


def _index(value: object) -> int | None:
    """The value as an int if it has an integer type; None for 16.0, '16' and True."""
    try:
        return None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        return None


def _sides(value: object) -> list:
    """The entries of a sequence or array, or a single value in a list."""
    if isinstance(value, str | Mapping) or _index(value) is not None:
        return [value]
    try:
        return list(value)
    except TypeError:
        return [value]
