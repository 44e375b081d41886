from vil_mm.models.backbones.vision_lstm import VisionLSTM

__all__ = ['VisionLSTM']
