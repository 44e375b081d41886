"""What runs around a model: optimizer wrappers, hooks, the visualizer and the launch of runs."""

from vil_mm.engine.hooks import BatchSizeHook, RequireWeightsHook, SeedIterationHook
from vil_mm.engine.optim import AutocastOptimWrapper
from vil_mm.engine.visualization_hook import ClsVisualizationHook
from vil_mm.engine.visualizer import SegPanelVisualizer

__all__ = [
    'AutocastOptimWrapper',
    'BatchSizeHook',
    'ClsVisualizationHook',
    'RequireWeightsHook',
    'SeedIterationHook',
    'SegPanelVisualizer',
]
