"""Running tools in tests."""

from running import forget_visualizers, run_here

__all__ = ['forget_visualizers', 'run_here']
