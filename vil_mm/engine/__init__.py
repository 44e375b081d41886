"""Registered parts of training: optimizer wrappers, hooks, visualizers, log processors."""

from vil_mm.engine.checkpoint_hook import SafeCheckpointHook
from vil_mm.engine.compile_hook import CompileBackboneHook
from vil_mm.engine.float_outputs_hook import FloatOutputsHook
from vil_mm.engine.hooks import BatchSizeHook, RequireWeightsHook, SeedIterationHook
from vil_mm.engine.layer_decay import LayerDecayOptimWrapperConstructor
from vil_mm.engine.logs import ThroughputLogProcessor
from vil_mm.engine.optim import (
    AutocastOptimWrapper,
    FiniteLossAmpOptimWrapper,
    FiniteLossOptimWrapper,
)
from vil_mm.engine.safe_loading import load_from_local
from vil_mm.engine.stop_hook import ShieldedWorker, StopOnSignalHook, TrainingStopped
from vil_mm.engine.storage import DurableLocalBackend
from vil_mm.engine.visualization_hook import ClsVisualizationHook, PictureHook
from vil_mm.engine.visualizer import SegPanelVisualizer

__all__ = [
    'AutocastOptimWrapper',
    'BatchSizeHook',
    'ClsVisualizationHook',
    'CompileBackboneHook',
    'DurableLocalBackend',
    'FiniteLossAmpOptimWrapper',
    'FiniteLossOptimWrapper',
    'FloatOutputsHook',
    'LayerDecayOptimWrapperConstructor',
    'PictureHook',
    'RequireWeightsHook',
    'SafeCheckpointHook',
    'SeedIterationHook',
    'SegPanelVisualizer',
    'ShieldedWorker',
    'StopOnSignalHook',
    'ThroughputLogProcessor',
    'TrainingStopped',
    'load_from_local',
]
