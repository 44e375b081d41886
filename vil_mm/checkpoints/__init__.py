"""Checkpoint files: reading, names, conversion. These functions map state dicts to state dicts."""

from vil_mm.checkpoints.description import Description, describe
from vil_mm.checkpoints.official import from_official, is_official, to_official

__all__ = ['Description', 'describe', 'from_official', 'is_official', 'to_official']
