"""`python try_config.py CONFIG`: reads a config and builds the model, or the backbone, in it."""

import sys

from vil_mm.models import VisionLSTM
from vil_mm.runs.build import build_model
from vil_mm.runs.reading import read_config

cfg = read_config(sys.argv[1])
model = cfg.get('model') or {}
if 'type' in model:
    build_model(cfg)
elif 'backbone' in model:
    options = dict(model.backbone)
    assert options.pop('type') == 'VisionLSTM'
    VisionLSTM(**options).init_weights()
