"""The parts of a Vision-LSTM network, as plain torch modules on token maps (B, S, D)."""

from vil_mm.layers.block import ViLBlock
from vil_mm.layers.layer import ViLLayer
from vil_mm.layers.norm import HeadNorm, OffsetLayerNorm
from vil_mm.layers.patch_embed import PatchEmbedding
from vil_mm.layers.pooling import POOLINGS, insert_middle, pool
from vil_mm.layers.position import PositionEmbedding, resize_embedding
from vil_mm.layers.scan import Scan
from vil_mm.layers.traversal import TRAVERSALS, Order, Traversal

__all__ = [
    'POOLINGS',
    'TRAVERSALS',
    'HeadNorm',
    'OffsetLayerNorm',
    'Order',
    'PatchEmbedding',
    'PositionEmbedding',
    'Scan',
    'Traversal',
    'ViLBlock',
    'ViLLayer',
    'insert_middle',
    'pool',
    'resize_embedding',
]
