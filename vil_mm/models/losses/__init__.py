"""Losses that mmsegmentation has, where its own fail."""

from vil_mm.models.losses.cross_entropy import CrossEntropyLoss

__all__ = ['CrossEntropyLoss']
