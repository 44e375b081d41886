"""Parts for heads that mmsegmentation lacks."""

from vil_mm.models.heads.init_cfg_conv import InitCfgConv2d

__all__ = ['InitCfgConv2d']
