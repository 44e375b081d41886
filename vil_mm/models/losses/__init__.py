"""Fixed versions of losses in mmsegmentation."""

from vil_mm.models.losses.cross_entropy import CrossEntropyLoss

__all__ = ['CrossEntropyLoss']
