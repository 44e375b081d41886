"""What OpenMMLab sees: the registered models."""

from vil_mm.models.backbones import VisionLSTM

__all__ = ['VisionLSTM']
