"""Metrics; importing this package registers them with MMEngine."""

from vil_mm.evaluation.dumping import DumpClassPredictions
from vil_mm.evaluation.metrics import CorruptionAccuracy, SubsetAccuracy

__all__ = ['CorruptionAccuracy', 'DumpClassPredictions', 'SubsetAccuracy']
