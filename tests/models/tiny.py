"""A backbone of a moment."""

from __future__ import annotations

import torch

from vil_mm.models import VisionLSTM

TINY = dict(embed_dims=16, num_layers=8)


def build(**options) -> VisionLSTM:
    options = {'arch': TINY, 'img_size': 32, 'patch_size': 8, **options}
    torch.manual_seed(0)
    return VisionLSTM(**options)
