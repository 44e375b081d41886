"""The models registered with OpenMMLab."""

from vil_mm.models.backbones import VisionLSTM
from vil_mm.models.data_preprocessor import MultibandSegDataPreProcessor
from vil_mm.models.heads import InitCfgConv2d
from vil_mm.models.losses import CrossEntropyLoss
from vil_mm.models.segmentors import TiledEncoderDecoder
from vil_mm.models.tta import SumLogitsTTAModel

__all__ = [
    'CrossEntropyLoss',
    'InitCfgConv2d',
    'MultibandSegDataPreProcessor',
    'SumLogitsTTAModel',
    'TiledEncoderDecoder',
    'VisionLSTM',
]
