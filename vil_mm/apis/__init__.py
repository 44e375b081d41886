"""Inference in one line, with models named by the model zoo."""

from vil_mm.apis.classification import ClsInferencer
from vil_mm.apis.segmentation import SegInferencer
from vil_mm.zoo import ModelRecord, find_config, find_model, list_models

__all__ = [
    'ClsInferencer',
    'ModelRecord',
    'SegInferencer',
    'find_config',
    'find_model',
    'list_models',
]
