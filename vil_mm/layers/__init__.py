"""The parts of a Vision-LSTM network, as plain torch modules on token maps (B, S, D)."""

from vil_mm.layers.block import ViLBlock
from vil_mm.layers.layer import ViLLayer
from vil_mm.layers.norm import HeadNorm, OffsetLayerNorm
from vil_mm.layers.patch_embed import PatchEmbedding
from vil_mm.layers.pooling import POOLINGS, pool
from vil_mm.layers.position import PositionEmbedding, resize_embedding

__all__ = [
    'POOLINGS',
    'HeadNorm',
    'OffsetLayerNorm',
    'PatchEmbedding',
    'PositionEmbedding',
    'ViLBlock',
    'ViLLayer',
    'pool',
    'resize_embedding',
]
