from vil_mm.models.segmentors.tiled_encoder_decoder import TiledEncoderDecoder
from vil_mm.models.segmentors.tiling import Tiling, tiled_argmax

__all__ = ['TiledEncoderDecoder', 'Tiling', 'tiled_argmax']
