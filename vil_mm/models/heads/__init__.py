"""Parts of heads that mmsegmentation does not have."""

from vil_mm.models.heads.init_cfg_conv import InitCfgConv2d

__all__ = ['InitCfgConv2d']
