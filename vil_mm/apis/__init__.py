"""Inference in a line: models by the names of the model zoo, on images, folders and videos."""

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
