"""Training on the user's own photos and masks: check, recode and split them, write a config."""

from vil_mm.own_data.prepare import FinetuneOptions, prepare

__all__ = ['FinetuneOptions', 'prepare']
